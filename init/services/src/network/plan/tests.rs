//! The order of steps, written down.

use super::*;
use crate::network::link;
use crate::network::state::{Layer, Membership, Setting};
use crate::network::structure::note;
use spec_config::Network;

fn card(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        layer: Layer::Ethernet,
        mac: Some([2, 0, 0, 0, 0, index as u8]),
        permanent_mac: Some([2, 0, 0, 0, 0, index as u8]),
        physical: true,
        up: true,
        carrier: true,
        mtu: 1500,
        ..Link::default()
    }
}

fn made(index: u32, name: &str, kind: &str, settings: &[Setting]) -> Link {
    Link {
        kind: kind.into(),
        settings: settings.to_vec(),
        alias: Some(note(name)),
        physical: false,
        permanent_mac: None,
        ..card(index, name)
    }
}

fn assigned(text: &str) -> Assigned {
    Assigned {
        address: text.parse().unwrap(),
        global: true,
        permanent: true,
        tentative: false,
        duplicate: false,
    }
}

fn network(text: &str) -> Network {
    serde_json::from_str(text).unwrap()
}

/// What is done, one line a step.
fn steps(network: &Network, kernel: &Kernel) -> Vec<String> {
    let desired = link::desired(network, &kernel.links, &BTreeMap::new());
    let name = |index| kernel.link(index).unwrap().name.clone();
    let steps = plan(kernel, &desired);
    let told = steps.into_iter().map(|(index, change)| match change {
        Change::AddAddress(address) => format!("{} +{address}", name(index)),
        Change::RemoveAddress(address) => format!("{} -{address}", name(index)),
        Change::AddRoute(route) => format!("{} +route {}", name(index), route.to),
        Change::Enslave(master) => format!("{} into {}", name(index), name(master)),
        change => format!("{} {change:?}", name(index)),
    });
    told.collect()
}

const BOND: &str = r#"{"links": [{"name": "bond0", "mtu": 9000, "addresses": ["10.77.0.11/24", "fd00::11/64"],
    "routes": [{"to": "default", "via": "10.77.0.1"}],
    "bond": {"mode": "active-backup", "members": [{"name": "eth0"}, {"name": "eth1"}], "primary": {"name": "eth1"}}}]}"#;

fn backup(primary: u32) -> Vec<Setting> {
    vec![
        Setting::BondMode(1),
        Setting::BondMiimon(100),
        Setting::BondPrimary(primary),
    ]
}

/// A bond that is as the config asks for.
fn bonded() -> Kernel {
    let member = |index, name: &str| Link {
        master: Some(4),
        mtu: 9000,
        ..card(index, name)
    };
    let bond = Link {
        mtu: 9000,
        ..made(4, "bond0", "bond", &backup(3))
    };
    let desired = link::desired(
        &network(BOND),
        std::slice::from_ref(&bond),
        &BTreeMap::new(),
    );
    let routes = desired.values().flat_map(|wanted| wanted.routes.clone());
    Kernel {
        routes: routes.map(|route| (4, route)).collect(),
        links: vec![member(2, "eth0"), member(3, "eth1"), bond],
        addresses: vec![(4, assigned("10.77.0.11/24")), (4, assigned("fd00::11/64"))],
    }
}

#[test]
fn two_cards_become_a_bond_and_their_address_moves_onto_it() {
    let fresh = Link {
        up: false,
        alias: None,
        ..made(4, "bond0", "bond", &backup(0))
    };
    let kernel = Kernel {
        links: vec![card(2, "eth0"), card(3, "eth1"), fresh],
        addresses: vec![(2, assigned("10.77.0.11/24"))],
        routes: vec![],
    };
    assert_eq!(
        steps(&network(BOND), &kernel),
        [
            "eth0 -10.77.0.11/24",
            "eth0 Down",
            "eth1 Down",
            "bond0 Alias(\"bedplate bond0\")",
            "eth0 into bond0",
            "eth1 into bond0",
            "bond0 Mtu(9000)",
            "bond0 Up",
            "bond0 SetLast([BondPrimary(3)])",
            "bond0 +10.77.0.11/24",
            "bond0 +fd00::11/64",
            "bond0 +route 0.0.0.0/0",
        ]
    );
}

#[test]
fn what_is_as_it_shall_be_is_not_touched() {
    assert_eq!(steps(&network(BOND), &bonded()), [""; 0]);
}

#[test]
fn an_option_that_can_be_changed_at_work_does_not_take_the_bond_down() {
    let slower = BOND.replace("\"mode\"", "\"miimon_ms\": 500, \"mode\"");
    let steps = steps(&network(&slower), &bonded());
    assert_eq!(steps, ["bond0 Set([BondMiimon(500)])"]);
}

#[test]
fn another_mode_empties_the_bond_for_as_long_as_it_must() {
    let balanced = BOND
        .replace("active-backup", "balance-xor")
        .replace(", \"primary\": {\"name\": \"eth1\"}", "");
    assert_eq!(
        steps(&network(&balanced), &bonded()),
        [
            "eth0 Release",
            "eth1 Release",
            "bond0 Down",
            "bond0 Set([BondMode(2), BondXmitHashPolicy(0)])",
            "eth0 into bond0",
            "eth1 into bond0",
            "bond0 Up",
            "bond0 +fd00::11/64",
            "bond0 +route 0.0.0.0/0",
        ]
    );
}

#[test]
fn a_lacp_rate_takes_the_bond_down_and_keeps_its_members() {
    let lacp = BOND.replace("active-backup", "802.3ad").replace(
        "\"primary\": {\"name\": \"eth1\"}",
        "\"lacp_rate\": \"fast\"",
    );
    let mut kernel = bonded();
    kernel.links[2].settings = vec![
        Setting::BondMode(4),
        Setting::BondMiimon(100),
        Setting::BondLacpRate(0),
        Setting::BondMinLinks(0),
        Setting::BondXmitHashPolicy(0),
    ];
    assert_eq!(
        steps(&network(&lacp), &kernel),
        [
            "bond0 Down",
            "bond0 Set([BondLacpRate(1)])",
            "bond0 Up",
            "bond0 +fd00::11/64",
            "bond0 +route 0.0.0.0/0",
        ]
    );
}

#[test]
fn a_member_that_somebody_took_out_goes_back() {
    let mut kernel = bonded();
    kernel.links[1].master = None;
    kernel.links[1].up = false;
    kernel.links[2].settings = backup(0);
    assert_eq!(
        steps(&network(BOND), &kernel),
        ["eth1 into bond0", "bond0 SetLast([BondPrimary(3)])"]
    );
    let mut kernel = bonded();
    kernel.links[0].up = false;
    assert_eq!(steps(&network(BOND), &kernel), ["eth0 Up"]);
}

#[test]
fn a_member_moves_from_one_master_to_another() {
    let bridge =
        r#"{"links": [{"name": "br0", "bridge": {"ports": [{"name": "eth0"}], "stp": true}}]}"#;
    let mut kernel = bonded();
    kernel.links.push(Link {
        up: false,
        ..made(5, "br0", "bridge", &[Setting::BridgeStp(false)])
    });
    assert_eq!(
        steps(&network(bridge), &kernel),
        [
            "eth0 Release",
            "br0 Set([BridgeStp(true)])",
            "eth0 into br0",
            "eth0 Up",
            "br0 Up",
        ]
    );
}

#[test]
fn a_card_that_others_put_into_a_bridge_comes_back() {
    let alone = r#"{"links": [{"match": {"name": "eth0"}, "addresses": ["10.77.0.11/24", "fd00::11/64"]}]}"#;
    let mut kernel = Kernel {
        links: vec![
            Link {
                master: Some(9),
                ..card(2, "eth0")
            },
            Link {
                alias: None,
                ..made(9, "docker0", "bridge", &[])
            },
        ],
        addresses: vec![(2, assigned("10.77.0.11/24")), (2, assigned("fd00::11/64"))],
        routes: vec![],
    };
    assert_eq!(
        steps(&network(alone), &kernel),
        ["eth0 Release", "eth0 Up", "eth0 +fd00::11/64"]
    );
    // Without a config nobody says that it is wrong there.
    kernel.addresses.clear();
    assert_eq!(steps(&Network::default(), &kernel), [""; 0]);
}

#[test]
fn what_carries_comes_up_before_what_is_carried() {
    let vlans = r#"{"links": [
        {"name": "inner", "vlan": {"id": 7, "parent": "outer"}, "mtu": 1400, "addresses": ["10.7.0.1/24"]},
        {"name": "outer", "vlan": {"id": 5, "parent": {"name": "eth0"}}, "mtu": 1400}]}"#;
    let vlan = |index, name: &str, id, parent| Link {
        up: false,
        parent: Some(parent),
        ..made(index, name, "vlan", &[Setting::VlanId(id)])
    };
    let kernel = Kernel {
        links: vec![
            vlan(3, "inner", 7, 4),
            vlan(4, "outer", 5, 9),
            Link {
                up: false,
                ..card(9, "eth0")
            },
        ],
        addresses: vec![(9, assigned("192.0.2.1/24"))],
        routes: vec![],
    };
    // No entry speaks of eth0: it is brought up for its VLAN and keeps what it has.
    assert_eq!(
        steps(&network(vlans), &kernel),
        [
            "outer Mtu(1400)",
            "inner Mtu(1400)",
            "eth0 Up",
            "outer Up",
            "inner Up",
            "inner +10.7.0.1/24",
        ]
    );
}

#[test]
fn links_that_carry_each_other_do_not_hang_it() {
    let knot = |index, parent| Link {
        parent: Some(parent),
        ..made(index, "x", "vlan", &[])
    };
    let kernel = Kernel {
        links: vec![knot(2, 3), knot(3, 2), knot(4, 4)],
        ..Kernel::default()
    };
    let alone = Desired {
        master: Some(Membership {
            index: 4,
            takes_down: false,
        }),
        ..Desired::default()
    };
    let desired = BTreeMap::from([(2, alone)]);
    assert_eq!(plan(&kernel, &desired), [(2, Change::Enslave(4))]);
}
