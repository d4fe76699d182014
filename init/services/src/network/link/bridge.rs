//! Bridges: a switch in the kernel. Its options change while it works, and a port may be up when it is plugged in.

use spec_config::LinkKind;

use crate::network::link::{Kind, Maker, ethernet};
use crate::network::state::{Need, Setting};

const NAME: &str = "bridge";

pub(super) const KIND: Kind = Kind {
    recognises: |link| link.kind == NAME,
    desired: ethernet::desired,
    maker: Some(Maker {
        kind: NAME,
        is_for: |kind| matches!(kind, LinkKind::Bridge(_)),
        settings: |_, _, entry| match entry.kind() {
            LinkKind::Bridge(bridge) => vec![(Setting::BridgeStp(bridge.stp), Need::Nothing)],
            _ => Vec::new(),
        },
        takes_down: false,
    }),
};
