//! The loopback link: up, and the kernel gives it its addresses.

use crate::network::link::Kind;
use crate::network::state::{Desired, Layer};

pub(super) const KIND: Kind = Kind {
    recognises: |link| link.layer == Layer::Loopback,
    desired: |_, _, _| {
        Some(Desired {
            keeps_others: true,
            ..Desired::default()
        })
    },
    maker: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::state::{Assigned, Change, Link, changes};
    use spec_config::Network;
    use std::collections::BTreeMap;

    #[test]
    fn it_is_brought_up_and_keeps_what_the_kernel_gives() {
        let link = Link {
            name: "lo".into(),
            layer: Layer::Loopback,
            ..Link::default()
        };
        let links = std::slice::from_ref(&link);
        let all = crate::network::link::desired(&Network::default(), links, &BTreeMap::new());
        let desired = all.values().next().unwrap();
        let address = Assigned {
            address: "127.0.0.1/8".parse().unwrap(),
            global: true,
            permanent: true,
            tentative: false,
            duplicate: false,
        };
        assert_eq!(changes(&link, &[address], &[], desired), [Change::Up]);
    }
}
