//! Dummies: Ethernet that leads nowhere, for addresses of the node itself. They have no options.

use spec_config::LinkKind;

use crate::network::link::{Kind, Maker, ethernet};

const NAME: &str = "dummy";

pub(super) const KIND: Kind = Kind {
    recognises: |link| link.kind == NAME,
    desired: ethernet::desired,
    maker: Some(Maker {
        kind: NAME,
        is_for: |kind| kind == LinkKind::Dummy,
        settings: |_, _, _| Vec::new(),
        takes_down: false,
    }),
};
