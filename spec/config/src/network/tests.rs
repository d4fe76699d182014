//! Links of each kind, in good and in bad shape.

use crate::tests::master;
use crate::{BondMode, Config, LinkKind, LinkReference};

/// The master's document with these entries after its own link.
fn with(links: &str) -> String {
    master().replace("[trust]\n", &format!("{links}\n[trust]\n"))
}

fn read(links: &str) -> Config {
    Config::parse(&with(links)).unwrap_or_else(|error| panic!("{links}\n{error}"))
}

/// Key path and message of each problem.
fn problems(links: &str) -> Vec<(String, String)> {
    let error = Config::parse(&with(links)).expect_err(links);
    let told = error.problems.into_iter();
    told.map(|problem| (problem.field.unwrap_or_default(), problem.message))
        .collect()
}

const BOND: &str = r#"
[[network.links]]
name = "bond0"
bond = { mode = "802.3ad", members = [{ mac = "52:54:00:00:00:02" }, { path = "pci-0000:00:0[45].0" }], lacp_rate = "fast", min_links = 1, xmit_hash_policy = "layer3+4" }
mtu = 9000
"#;
const VLAN: &str = r#"
[[network.links]]
name = "storage"
vlan = { id = 40, parent = "bond0" }
addresses = ["10.40.0.11/24"]
mtu = 9000
"#;
const BRIDGE: &str = r#"
[[network.links]]
name = "br0"
bridge = { ports = [{ name = "enp0s9" }], stp = true }
dhcp4 = true
[[network.links]]
name = "anycast"
dummy = {}
mac = "52:54:00:00:00:d0"
addresses = ["10.77.0.53/32"]
"#;

#[test]
fn each_kind_is_read_and_written_again() {
    let config = read(&[BOND, VLAN, BRIDGE].concat());
    let links = &config.network.links;
    let LinkKind::Bond(bond) = links[1].kind() else {
        panic!("{:?}", links[1]);
    };
    assert_eq!((bond.mode, bond.miimon_ms), (BondMode::Ieee8023ad, 100));
    assert_eq!(links[1].members().len(), 2);
    assert_eq!(
        links[2].parent(),
        Some(&LinkReference::Name("bond0".into()))
    );
    assert!(matches!(links[3].kind(), LinkKind::Bridge(bridge) if bridge.stp));
    assert_eq!(links[4].kind(), LinkKind::Dummy);
    assert_eq!(links[0].kind(), LinkKind::Existing);
    assert_eq!(Config::parse(&config.to_toml().unwrap()).unwrap(), config);
}

#[test]
fn a_wrong_entry_is_refused_at_its_key() {
    let own = "[[network.links]]\nname = \"x0\"\n";
    for (links, field, reason) in [
        (
            format!("{own}bond = {{ mode = \"802.3ad\", members = [] }}"),
            "bond.members",
            "a bond of nothing",
        ),
        (
            format!("{own}vlan = {{ id = 0, parent = {{ name = \"e\" }} }}"),
            "vlan.id",
            "outside 1 to 4094",
        ),
        (
            format!("{own}vlan = {{ id = 4095, parent = {{ name = \"e\" }} }}"),
            "vlan.id",
            "outside 1 to 4094",
        ),
        (
            format!("{own}vlan = {{ id = 7, parent = \"nope\" }}"),
            "vlan.parent",
            "no entry of network.links",
        ),
        (
            format!("{own}vlan = {{ id = 7, parent = {{}} }}"),
            "vlan.parent",
            "empty `match`",
        ),
        (own.to_owned(), "name", "but as what?"),
        (
            "[[network.links]]\ndummy = {}".to_owned(),
            "dummy",
            "without a `name`",
        ),
        (
            format!("{own}dummy = {{}}\nbridge = {{}}"),
            "dummy",
            "a link is of one kind",
        ),
        (
            format!("{own}dummy = {{}}\nmatch = {{ driver = \"e\" }}"),
            "match",
            "keep one of them",
        ),
        (
            format!("{own}dummy = {{}}\nmac = \"01:00:5e:00:00:01\""),
            "mac",
            "a group's",
        ),
        (format!("{own}dummy = {{}}\nmtu = 60"), "mtu", "outside 68"),
        (
            format!(
                "{own}bond = {{ mode = \"balance-rr\", members = [{{ driver = \"e\" }}], lacp_rate = \"slow\" }}"
            ),
            "bond.lacp_rate",
            "counts only in mode 802.3ad",
        ),
        (
            format!(
                "{own}bond = {{ mode = \"802.3ad\", members = [{{ driver = \"e\" }}], primary = {{ driver = \"e\" }} }}"
            ),
            "bond.primary",
            "counts only in mode active-backup",
        ),
        (
            format!(
                "{own}bond = {{ mode = \"active-backup\", members = [{{ driver = \"e\" }}], primary = {{ name = \"e\" }} }}"
            ),
            "bond.primary",
            "none of the bond's `members`",
        ),
        (
            format!(
                "{own}bond = {{ mode = \"active-backup\", members = [{{ driver = \"e\" }}], miimon_ms = 0 }}"
            ),
            "bond.miimon_ms",
            "outside 1 to",
        ),
        (
            format!("{own}bridge = {{ ports = [{{ name = \"e\" }}, {{ name = \"e\" }}] }}"),
            "bridge.ports[1]",
            "stands twice",
        ),
    ] {
        let told = problems(&links);
        let field = format!("network.links[1].{field}");
        assert!(
            told.iter()
                .any(|(at, message)| *at == field && message.contains(reason)),
            "{links}: {told:?}"
        );
    }
}

#[test]
fn names_that_the_kernel_would_not_take_are_refused() {
    for name in [
        "",
        "a-name-of-sixteen",
        "a/b",
        "a b",
        "12",
        ".",
        "lo",
        "all",
        "x%d",
        "dünn",
    ] {
        let said = problems(&format!(
            "[[network.links]]\nname = \"{name}\"\ndummy = {{}}"
        ));
        assert!(
            said[0].1.contains("is not a name for a link"),
            "{name}: {said:?}"
        );
    }
}

#[test]
fn a_link_has_one_entry() {
    let dummy = "[[network.links]]\nname = \"d0\"\ndummy = {}\n";
    let (field, said) = problems(&[dummy, dummy].concat()).remove(0);
    assert_eq!(field, "network.links[2].name");
    assert!(
        said.contains("network.links[1] is for it already"),
        "{said}"
    );
    let other = "[[network.links]]\nmatch = { name = \"d0\" }\ndhcp4 = true\n";
    assert_eq!(
        problems(&[dummy, other].concat())[0].0,
        "network.links[2].match"
    );
    assert_eq!(
        problems(&[other, other].concat())[0].0,
        "network.links[2].match"
    );
}

#[test]
fn a_link_is_a_member_once_and_has_no_address_of_its_own() {
    let bond = |name: &str| {
        format!(
            "[[network.links]]\nname = \"{name}\"\nbond = {{ mode = \"active-backup\", members = [{{ mac = \"52:54:00:00:00:02\" }}] }}\n"
        )
    };
    let (field, said) = problems(&[bond("a"), bond("b")].concat()).remove(0);
    assert_eq!(field, "network.links[2].bond.members[0]");
    assert!(said.contains("is a member of a already"), "{said}");

    let own = bond("a").replace("00:02", "00:01");
    let told = problems(&own);
    let fields: Vec<&str> = told.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "network.links[0].addresses",
            "network.links[0].mtu",
            "network.links[0].routes"
        ]
    );
    let vlan = "[[network.links]]\nname = \"v\"\nvlan = { id = 5, parent = { mac = \"52:54:00:00:00:02\" } }";
    let (field, said) = problems(&[bond("a"), vlan.to_owned()].concat()).remove(0);
    assert_eq!(field, "network.links[2].vlan.parent");
    assert!(said.contains("make the VLAN of a"), "{said}");
}

#[test]
fn circles_and_impossible_members_are_refused() {
    let bridge = |name: &str, port: &str| {
        format!("[[network.links]]\nname = \"{name}\"\nbridge = {{ ports = [\"{port}\"] }}\n")
    };
    let vlan = |name: &str, parent: &str| {
        format!(
            "[[network.links]]\nname = \"{name}\"\nvlan = {{ id = 5, parent = \"{parent}\" }}\n"
        )
    };
    let told = problems(&[bridge("br0", "v"), vlan("v", "br0")].concat());
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].1.contains("br0 would be made of itself"));
    assert!(problems(&vlan("v", "v"))[0].1.contains("made of itself"));
    let told = problems(
        &[
            bridge("br0", "br1"),
            "[[network.links]]\nname = \"br1\"\nbridge = {}\n".into(),
        ]
        .concat(),
    );
    assert!(told[0].1.contains("another bridge"), "{told:?}");
}

#[test]
fn a_vlan_carries_no_more_than_its_parent() {
    let (field, said) = problems(&[BOND, &VLAN.replace("9000", "9001")].concat()).remove(0);
    assert_eq!(field, "network.links[2].mtu");
    assert!(
        said.contains("above the 9000 of its parent bond0"),
        "{said}"
    );
}

#[test]
fn networks_of_two_links_do_not_overlap() {
    let dummy = |address: &str| {
        format!("[[network.links]]\nname = \"d0\"\ndummy = {{}}\naddresses = [\"{address}\"]")
    };
    let (field, said) = problems(&dummy("10.77.9.1/16")).remove(0);
    assert_eq!(field, "network.links[1].addresses[0]");
    assert!(
        said.contains("overlaps that of 10.77.0.11/24 of network.links[0]"),
        "{said}"
    );
    for fine in [
        "10.77.0.53/32",
        "10.78.0.1/16",
        "fd00::53/128",
        "fe80::1/64",
    ] {
        read(&dummy(fine));
    }
    let again = problems(&dummy("10.77.0.11/24"));
    assert!(
        again[0].1.contains("address 10.77.0.11 stands twice"),
        "{again:?}"
    );
}

#[test]
fn the_examples_of_the_page_hold() {
    let page = include_str!("../../../../docs/machine-config.md");
    let (_, section) = page.split_once("\n## Links\n").unwrap();
    let (_, example) = section.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    assert_eq!(example.matches("[[network.links]]").count(), 5);
    let text = master();
    let own = text.find("[[network.links]]").unwrap();
    let trust = text.find("[trust]\n").unwrap();
    let text = format!("{}{example}{}", &text[..own], &text[trust..]);
    let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.network.links.len(), 5);
}
