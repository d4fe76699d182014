//! Which links an entry means.

use super::*;
use crate::network::state::Layer;

fn network(links: &str) -> Network {
    serde_json::from_str(&format!("{{\"links\": [{links}]}}")).unwrap()
}

fn card(index: u32, name: &str, path: &str) -> Link {
    Link {
        index,
        name: name.into(),
        layer: Layer::Ethernet,
        mac: Some([2, 0, 0, 0, 0, index as u8]),
        permanent_mac: Some([2, 0, 0, 0, 0, index as u8]),
        driver: Some("virtio_net".into()),
        path: Some(path.into()),
        physical: true,
        ..Link::default()
    }
}

/// A bond with the hardware address of its first member, as bonds have.
fn bond(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        layer: Layer::Ethernet,
        kind: "bond".into(),
        mac: Some([2, 0, 0, 0, 0, 2]),
        ..Link::default()
    }
}

fn links() -> [Link; 3] {
    [
        card(2, "eth0", "pci-0000:00:03.0"),
        card(3, "eth1", "pci-0000:00:04.0"),
        bond(4, "bond0"),
    ]
}

fn meant(reference: &str) -> Vec<u32> {
    let network =
        network(r#"{"name": "bond0", "bond": {"mode": "802.3ad", "members": [{"name": "eth0"}]}}"#);
    let reference: LinkReference = serde_json::from_str(reference).unwrap();
    let links = links();
    let found = find(&network, &links, &reference);
    found.iter().map(|link| link.index).collect()
}

#[test]
fn a_reference_means_by_mac_name_driver_place_or_entry() {
    for (reference, indices) in [
        (r#"{"mac": "02:00:00:00:00:02"}"#, &[2][..]),
        (r#"{"name": "eth1"}"#, &[3]),
        (r#"{"driver": "virtio_net"}"#, &[2, 3]),
        (r#"{"path": "pci-0000:00:03.0"}"#, &[2]),
        (r#"{"path": "pci-0000:00:0[34].*"}"#, &[2, 3]),
        (r#"{"path": "pci-*", "name": "eth1"}"#, &[3]),
        (r#"{"path": "*", "driver": "e1000e"}"#, &[]),
        (r#"{"name": "bond0"}"#, &[4]),
        (r#""bond0""#, &[4]),
        (r#""eth0""#, &[]),
        ("{}", &[]),
    ] {
        assert_eq!(meant(reference), indices, "{reference}");
    }
}

#[test]
fn the_first_entry_that_claims_a_member_has_it() {
    let network = network(
        r#"{"name": "bond0", "bond": {"mode": "802.3ad", "members": [{"mac": "02:00:00:00:00:02"}]}},
           {"name": "bond1", "bond": {"mode": "802.3ad", "members": [{"driver": "virtio_net"}]}},
           {"match": {"driver": "virtio_net"}, "dhcp4": true, "mtu": 1400}"#,
    );
    let mut links = links().to_vec();
    links.push(bond(5, "bond1"));
    let desired = desired(&network, &links, &BTreeMap::new());
    let master = |index: u32| desired[&index].master.map(|master| master.index);
    assert_eq!((master(2), master(3), master(4)), (Some(4), Some(5), None));
    assert!(!desired[&2].dhcp4 && desired[&2].mtu.is_none());
    assert_eq!(desired[&4].alias.as_deref(), Some("bedplate bond0"));
}

#[test]
fn what_is_not_here_is_told() {
    let network = network(
        r#"{"name": "bond0", "bond": {"mode": "802.3ad", "members": [{"name": "eth0"}, {"mac": "02:00:00:00:00:99"}]}},
           {"match": {"path": "pci-0000:00:07.0"}, "dhcp4": true},
           {"name": "later", "dummy": {}}"#,
    );
    assert_eq!(
        absent(&network, &links()),
        [
            "bond0: its member mac 02:00:00:00:00:99 is not here",
            "no link is here for the entry with match path pci-0000:00:07.0",
        ]
    );
}

#[test]
fn each_kind_that_is_made_has_its_own_name_in_the_kernel() {
    let made = |links: &str| maker(&network(links).links[0]).map(|maker| maker.kind);
    assert_eq!(
        made(r#"{"name": "a", "vlan": {"id": 1, "parent": "b"}}"#),
        Some("vlan")
    );
    assert_eq!(made(r#"{"name": "a", "bridge": {}}"#), Some("bridge"));
    assert_eq!(made(r#"{"name": "a", "dummy": {}}"#), Some("dummy"));
    assert_eq!(
        made(r#"{"name": "a", "bond": {"mode": "802.3ad", "members": []}}"#),
        Some("bond")
    );
    assert_eq!(made(r#"{"match": {"name": "a"}}"#), None);
}
