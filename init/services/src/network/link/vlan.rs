//! VLANs (IEEE 802.1Q): a parent's frames that bear one tag. The kernel changes neither tag nor parent later.

use spec_config::LinkKind;

use crate::network::link::{Kind, Maker, ethernet};
use crate::network::state::{Need, Setting};

const NAME: &str = "vlan";

pub(super) const KIND: Kind = Kind {
    recognises: |link| link.kind == NAME,
    desired: ethernet::desired,
    maker: Some(Maker {
        kind: NAME,
        is_for: |kind| matches!(kind, LinkKind::Vlan(_)),
        settings: |_, _, entry| match entry.kind() {
            LinkKind::Vlan(vlan) => vec![(Setting::VlanId(vlan.id), Need::NewLink)],
            _ => Vec::new(),
        },
        takes_down: false,
    }),
};
