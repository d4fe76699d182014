//! Bonds: several links as one. When an option can be changed is what the kernel's table of them says
//! (drivers/net/bonding/bond_options.c, `bond_opts`); the numbers are those of Documentation/networking/bonding.

use spec_config::{Bond, BondMode, LacpRate, LinkKind, Network, XmitHashPolicy};

use crate::network::link::{Kind, Maker, ethernet, find};
use crate::network::state::{Link, Need, Setting};

const NAME: &str = "bond";

pub(super) const KIND: Kind = Kind {
    recognises: |link| link.kind == NAME,
    desired: ethernet::desired,
    maker: Some(Maker {
        kind: NAME,
        is_for: |kind| matches!(kind, LinkKind::Bond(_)),
        settings: |network, links, entry| match entry.kind() {
            LinkKind::Bond(bond) => settings(network, links, bond),
            _ => Vec::new(),
        },
        takes_down: true,
    }),
};

/// An option that is not given has the kernel's default; one that the mode has no use for is left alone.
fn settings(network: &Network, links: &[Link], bond: &Bond) -> Vec<(Setting, Need)> {
    let mut settings = vec![
        (Setting::BondMode(mode(bond.mode)), Need::NoMembers),
        (Setting::BondMiimon(bond.miimon_ms), Need::Nothing),
    ];
    if bond.mode.has_lacp() {
        let rate = match bond.lacp_rate {
            None | Some(LacpRate::Slow) => 0,
            Some(LacpRate::Fast) => 1,
        };
        settings.push((Setting::BondLacpRate(rate), Need::Down));
        let min_links = bond.min_links.unwrap_or(0);
        settings.push((Setting::BondMinLinks(min_links), Need::Nothing));
    }
    if bond.mode.has_hash() {
        let policy = hash_policy(bond.xmit_hash_policy);
        settings.push((Setting::BondXmitHashPolicy(policy), Need::Nothing));
    }
    if bond.mode.has_primary() {
        let primary = bond
            .primary
            .as_ref()
            .map(|primary| find(network, links, primary));
        let primary = primary.and_then(|found| Some(found.first()?.index));
        settings.push((Setting::BondPrimary(primary.unwrap_or(0)), Need::Members));
    }
    settings
}

fn mode(mode: BondMode) -> u8 {
    match mode {
        BondMode::BalanceRr => 0,
        BondMode::ActiveBackup => 1,
        BondMode::BalanceXor => 2,
        BondMode::Ieee8023ad => 4,
        BondMode::BalanceTlb => 5,
        BondMode::BalanceAlb => 6,
    }
}

fn hash_policy(policy: Option<XmitHashPolicy>) -> u8 {
    match policy {
        None | Some(XmitHashPolicy::Layer2) => 0,
        Some(XmitHashPolicy::Layer34) => 1,
        Some(XmitHashPolicy::Layer23) => 2,
        Some(XmitHashPolicy::Encap23) => 3,
        Some(XmitHashPolicy::Encap34) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bond: &str, links: &[Link]) -> Vec<(Setting, Need)> {
        let bond: Bond = serde_json::from_str(bond).unwrap();
        settings(&Network::default(), links, &bond)
    }

    #[test]
    fn each_mode_has_the_options_that_count_in_it() {
        let lacp = r#"{"mode": "802.3ad", "members": [{"name": "a"}], "lacp_rate": "fast", "xmit_hash_policy": "layer3+4"}"#;
        assert_eq!(
            of(lacp, &[]),
            [
                (Setting::BondMode(4), Need::NoMembers),
                (Setting::BondMiimon(100), Need::Nothing),
                (Setting::BondLacpRate(1), Need::Down),
                (Setting::BondMinLinks(0), Need::Nothing),
                (Setting::BondXmitHashPolicy(1), Need::Nothing),
            ]
        );
        let plain = r#"{"mode": "balance-rr", "members": [{"name": "a"}], "miimon_ms": 250}"#;
        assert_eq!(
            of(plain, &[]),
            [
                (Setting::BondMode(0), Need::NoMembers),
                (Setting::BondMiimon(250), Need::Nothing),
            ]
        );
    }

    #[test]
    fn the_primary_is_the_link_that_is_meant() {
        let bond = r#"{"mode": "active-backup", "members": [{"name": "a"}, {"name": "b"}], "primary": {"name": "b"}}"#;
        let link = |index, name: &str| Link {
            index,
            name: name.into(),
            ..Link::default()
        };
        let primary = |links: &[Link]| of(bond, links).pop().unwrap();
        let both = [link(2, "a"), link(3, "b")];
        assert_eq!(primary(&both), (Setting::BondPrimary(3), Need::Members));
        assert_eq!(
            primary(&both[..1]),
            (Setting::BondPrimary(0), Need::Members)
        );
    }
}
