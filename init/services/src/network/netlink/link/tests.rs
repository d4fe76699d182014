//! RTM_NEWLINK answers and what is read of them; requests and their bytes.
//!
//! The bridge and the cable are what a kernel answered, less statistics and most options. No kernel with bonds, VLANs and dummies
//! was at hand: theirs are laid out by include/uapi/linux/if_link.h.

use super::*;
use netlink_packet_core::{Emitable, Parseable};

/// An attribute, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `struct ifinfomsg` of an Ethernet link, then attributes.
fn message(index: u8, flags: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 1, 0, index, 0, 0, 0, flags, 0x10, 0, 0, 0, 0, 0, 0];
    bytes.extend(attributes.concat());
    bytes
}

fn read(bytes: &[u8]) -> Link {
    read_link(&LinkMessage::parse(bytes).unwrap()).unwrap()
}

/// IFLA_LINKINFO: IFLA_INFO_KIND, IFLA_INFO_DATA.
fn link_info(kind: &str, data: &[Vec<u8>]) -> Vec<u8> {
    let kind = attribute(1, format!("{kind}\0").as_bytes());
    attribute(18, &[kind, attribute(2, &data.concat())].concat())
}

/// `ip link add br0 type bridge stp_state 1`, noted as ours.
#[rustfmt::skip]
const BRIDGE: &[u8] = &[
    0, 0, 1, 0, 2, 0, 0, 0, 2, 16, 0, 0, 0, 0, 0, 0, // ifinfomsg: Ethernet, index 2, not up
    8, 0, 3, 0, 98, 114, 48, 0, // IFLA_IFNAME
    8, 0, 4, 0, 220, 5, 0, 0, // IFLA_MTU
    8, 0, 51, 0, 255, 255, 0, 0, // IFLA_MAX_MTU
    17, 0, 20, 0, 98, 101, 100, 112, 108, 97, 116, 101, 32, 98, 114, 48, 0, 0, 0, 0, // IFLA_IFALIAS
    10, 0, 1, 0, 26, 1, 136, 106, 128, 73, 0, 0, // IFLA_ADDRESS
    52, 0, 18, 0, // IFLA_LINKINFO
    11, 0, 1, 0, 98, 114, 105, 100, 103, 101, 0, 0, // IFLA_INFO_KIND
    36, 0, 2, 0, // IFLA_INFO_DATA
    8, 0, 1, 0, 220, 5, 0, 0, // IFLA_BR_FORWARD_DELAY
    8, 0, 4, 0, 48, 117, 0, 0, // IFLA_BR_AGEING_TIME
    8, 0, 5, 0, 1, 0, 0, 0, // IFLA_BR_STP_STATE
    6, 0, 6, 0, 0, 128, 0, 0, // IFLA_BR_PRIORITY
];

/// One end of `ip link add v0 type veth peer name v1`, with `master br0`.
#[rustfmt::skip]
const PORT: &[u8] = &[
    0, 0, 1, 0, 4, 0, 0, 0, 2, 16, 0, 0, 0, 0, 0, 0,
    7, 0, 3, 0, 118, 48, 0, 0,
    8, 0, 4, 0, 220, 5, 0, 0,
    8, 0, 51, 0, 255, 255, 0, 0,
    8, 0, 10, 0, 2, 0, 0, 0, // IFLA_MASTER
    10, 0, 1, 0, 26, 1, 136, 106, 128, 73, 0, 0,
    48, 0, 18, 0, // IFLA_LINKINFO
    9, 0, 1, 0, 118, 101, 116, 104, 0, 0, 0, 0,
    11, 0, 4, 0, 98, 114, 105, 100, 103, 101, 0, 0, // IFLA_INFO_SLAVE_KIND
    20, 0, 5, 0, // IFLA_INFO_SLAVE_DATA
    5, 0, 1, 0, 0, 0, 0, 0, // IFLA_BRPORT_STATE
    6, 0, 2, 0, 32, 0, 0, 0, // IFLA_BRPORT_PRIORITY
    8, 0, 5, 0, 3, 0, 0, 0, // IFLA_LINK: the other end
];

#[test]
fn a_captured_bridge_is_read() {
    let bridge = read(BRIDGE);
    assert_eq!((bridge.index, bridge.name.as_str()), (2, "br0"));
    assert_eq!(
        (bridge.kind.as_str(), bridge.layer),
        ("bridge", Layer::Ethernet)
    );
    assert_eq!(bridge.settings, [Setting::BridgeStp(true)]);
    assert_eq!(bridge.alias.as_deref(), Some("bedplate br0"));
    assert_eq!(
        (bridge.up, bridge.master, bridge.parent),
        (false, None, None)
    );
}

#[test]
fn a_captured_port_names_its_bridge_and_no_parent() {
    let port = read(PORT);
    assert_eq!((port.master, port.parent), (Some(2), None));
    assert_eq!((port.kind.as_str(), port.settings.len()), ("veth", 0));
}

#[test]
fn a_bond_is_read() {
    let data = [
        attribute(1, &[4]),                  // IFLA_BOND_MODE
        attribute(3, &250u32.to_ne_bytes()), // IFLA_BOND_MIIMON
        attribute(14, &[1]),                 // IFLA_BOND_XMIT_HASH_POLICY
        attribute(18, &2u32.to_ne_bytes()),  // IFLA_BOND_MIN_LINKS
        attribute(21, &[1]),                 // IFLA_BOND_AD_LACP_RATE
    ];
    let name = attribute(3, b"bond0\0");
    let bond = read(&message(7, 1, &[name.clone(), link_info("bond", &data)]));
    assert_eq!((bond.up, bond.kind.as_str()), (true, "bond"));
    assert_eq!(
        bond.settings,
        [
            Setting::BondMode(4),
            Setting::BondMiimon(250),
            Setting::BondXmitHashPolicy(1),
            Setting::BondMinLinks(2),
            Setting::BondLacpRate(1),
            Setting::BondPrimary(0),
        ]
    );
    let data = [attribute(1, &[1]), attribute(11, &3u32.to_ne_bytes())]; // IFLA_BOND_PRIMARY
    let bond = read(&message(7, 1, &[name, link_info("bond", &data)]));
    assert_eq!(
        bond.settings,
        [Setting::BondMode(1), Setting::BondPrimary(3)]
    );
}

#[test]
fn a_vlan_names_its_parent() {
    let data = [
        attribute(5, &0x8100u16.to_be_bytes()),
        attribute(1, &40u16.to_ne_bytes()),
    ];
    let attributes = [
        attribute(3, b"storage\0"),
        attribute(5, &7u32.to_ne_bytes()), // IFLA_LINK
        link_info("vlan", &data),
    ];
    let vlan = read(&message(8, 0, &attributes));
    assert_eq!((vlan.parent, vlan.kind.as_str()), (Some(7), "vlan"));
    assert_eq!(vlan.settings, [Setting::VlanId(40)]);
}

#[test]
fn a_dummy_has_no_options() {
    let kind = attribute(18, &attribute(1, b"dummy\0"));
    let dummy = read(&message(9, 0, &[attribute(3, b"d0\0"), kind]));
    assert_eq!((dummy.kind.as_str(), dummy.settings.len()), ("dummy", 0));
}

#[test]
fn a_request_reads_as_what_it_asks_for() {
    let settings = vec![
        Setting::BondMode(1),
        Setting::BondMiimon(100),
        Setting::BondPrimary(3),
    ];
    let kinds = [
        ("bond", settings, None),
        ("bridge", vec![Setting::BridgeStp(false)], None),
        ("vlan", vec![Setting::VlanId(4094)], Some(7)),
        ("dummy", vec![], None),
    ];
    for (kind, settings, parent) in kinds {
        let new = New {
            name: "x0".into(),
            kind,
            settings: settings.clone(),
            parent,
            mac: Some([2, 0, 0, 0, 0, 1]),
        };
        let message = new_link(&new);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        let link = read(&bytes);
        assert_eq!((link.name.as_str(), link.kind.as_str()), ("x0", kind));
        assert_eq!((link.settings, link.parent), (settings, parent));
        assert_eq!(link.mac, new.mac);
    }
}

#[test]
fn a_vlan_is_asked_for_by_the_documented_bytes() {
    let new = New {
        name: "v40".into(),
        kind: "vlan",
        settings: vec![Setting::VlanId(40)],
        parent: Some(7),
        mac: None,
    };
    let message = new_link(&new);
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    let mut wanted = vec![0; 16];
    wanted.extend(attribute(3, b"v40\0"));
    let id = attribute(1, &40u16.to_ne_bytes());
    wanted.extend(link_info("vlan", &[id]));
    wanted.extend(attribute(5, &7u32.to_ne_bytes()));
    assert_eq!(bytes, wanted);
}
