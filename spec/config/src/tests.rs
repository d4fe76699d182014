//! The document in good and in bad shape.

use proptest::prelude::*;

use crate::{BootFacts, Config, ConfigState, Destination, HIDDEN, Hidden, Role};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\\nAAAA{}\\n-----END CERTIFICATE-----\\n";

fn certificate(name: &str) -> String {
    CERTIFICATE.replace("{}", name)
}

pub(crate) fn master() -> String {
    let mut text = String::from(
        r#"schema = 1
[cluster]
id = "00112233445566778899aabbccddeeff"
name = "dev"
masters = [{ name = "dev-1", address = "10.77.0.11" }, { name = "dev-2", address = "10.77.0.12" }]
join_token = "join-token-of-the-test"
[node]
hostname = "dev-1"
roles = ["master", "agent"]
[network]
nameservers = ["10.77.0.1"]
[[network.links]]
match = { mac = "52:54:00:00:00:01" }
addresses = ["10.77.0.11/24", "fd00::11/64"]
dhcp4 = false
mtu = 1500
routes = [{ to = "default", via = "10.77.0.1" }]
[trust]
"#,
    );
    for root in ["node_api", "etcd_peer", "etcd_client", "cluster"] {
        text += &format!("{root} = {{ roots = [\"{}\"] }}\n", certificate(root));
    }
    text += "[trust.issuers]\n";
    for root in ["node_api", "etcd_peer", "etcd_client", "cluster"] {
        text += &format!(
            "{root} = {{ certificate = \"{}\", key = \"-----BEGIN PRIVATE KEY-----\\nhush-{root}\\n-----END PRIVATE KEY-----\\n\" }}\n",
            certificate("i")
        );
    }
    text
}

fn problems(text: &str) -> String {
    Config::parse(text)
        .expect_err("the document is wrong")
        .to_string()
}

#[test]
fn a_masters_document_resolves() {
    let config = Config::parse(&master()).unwrap();
    assert!(config.has_role(Role::Master) && config.has_role(Role::Agent));
    assert_eq!(
        config.own_master().unwrap().address.to_string(),
        "10.77.0.11"
    );
    assert_eq!(config.other_masters().count(), 1);
    assert_eq!(config.network.links[0].routes[0].to, Destination::Default);
    assert_eq!(
        config.network.links[0].addresses[1].to_string(),
        "fd00::11/64"
    );
}

#[test]
fn what_is_written_is_read_back_the_same() {
    let config = Config::parse(&master()).unwrap();
    assert_eq!(Config::parse(&config.to_toml().unwrap()).unwrap(), config);
}

#[test]
fn a_document_without_network_means_dhcp_everywhere() {
    let text = master();
    let start = text.find("[network]").unwrap();
    let end = text.find("[trust]").unwrap();
    let config = Config::parse(&format!("{}{}", &text[..start], &text[end..])).unwrap();
    assert!(config.network.links.is_empty());
}

#[test]
fn no_view_shows_a_secret() {
    let config = Config::parse(&master()).unwrap();
    let public = config.masked().to_toml().unwrap();
    for view in [format!("{config:?}"), public] {
        assert!(
            !view.contains("hush") && !view.contains("join-token-of-the-test"),
            "{view}"
        );
    }
}

#[test]
fn a_shown_config_can_be_edited_and_given_back() {
    let config = Config::parse(&master()).unwrap();
    let shown = config.masked().to_toml().unwrap();
    let back = Config::parse_with(&shown, Hidden::From(&config)).unwrap();
    assert_eq!(back, config);
    let kept = Config::parse_with(&shown, Hidden::Keep).unwrap();
    assert_eq!(kept.cluster.join_token.expose(), HIDDEN);
    let said = problems(&shown);
    assert_eq!(said.matches("is hidden and there is no config").count(), 5);
}

#[test]
fn a_problem_names_its_field() {
    let text = master().replace("mtu = 1500", "mtu = 1");
    let error = Config::parse(&text).unwrap_err();
    let field = error.problems[0].field.as_deref();
    assert_eq!(field, Some("network.links[0].mtu"));
}

#[test]
fn the_node_apis_part_has_its_own_issuer_and_no_other() {
    let config = Config::parse(&master()).unwrap();
    let part = crate::NodeConfig::of(&config);
    assert_eq!(part.addresses.len(), 2);
    assert!(
        part.issuer
            .as_ref()
            .unwrap()
            .key
            .expose()
            .contains("hush-node_api")
    );
    assert!(!format!("{part:?}").contains("hush"));
    let written = toml::to_string(&part).unwrap();
    assert_eq!(written.matches("hush").count(), 1);
    assert_eq!(toml::from_str::<crate::NodeConfig>(&written).unwrap(), part);
}

#[test]
fn an_error_does_not_quote_a_value_in_the_wrong_place() {
    let text = master().replace("masters = [", "masters = [\"hush\", ");
    let said = problems(&text);
    assert!(!said.contains("hush"), "{said}");
    assert!(
        said.starts_with("5:12: invalid type: string, expected"),
        "{said}"
    );
}

#[test]
fn unknown_keys_are_refused_with_their_place() {
    let said = problems(&master().replace("dhcp4 = false", "dhcp = false"));
    assert!(said.starts_with("15:1: unknown field `dhcp`"), "{said}");
}

#[test]
fn values_are_refused_with_their_place() {
    for (good, bad, place, reason) in [
        (
            "\"10.77.0.11/24\"",
            "\"10.77.0.11/33\"",
            "14:13",
            "prefix at most 32",
        ),
        ("\"fd00::11/64\"", "\"fd00::11\"", "14:13", "ADDRESS/PREFIX"),
        (
            "hostname = \"dev-1\"",
            "hostname = \"Dev_1\"",
            "8:12",
            "not a host name",
        ),
        ("\"agent\"]", "\"boss\"]", "9:9", "not a role"),
        (
            "00112233445566778899aabbccddeeff",
            "0011",
            "3:6",
            "32 lower-case hex digits",
        ),
        (
            "52:54:00:00:00:01",
            "52:54:00:00:00",
            "13:17",
            "not a hardware address",
        ),
        (
            "{ to = \"default\"",
            "{ to = \"defaul\"",
            "17:18",
            "not a destination",
        ),
        ("mtu = 1500", "mtu = 576", "16:7", "outside 1280 to 65535"),
        ("\"10.77.0.1\" }]", "\"0.0.0.0\" }]", "17:35", "next hop"),
        (
            "match = { mac = \"52:54:00:00:00:01\" }",
            "match = {}",
            "13:9",
            "empty `match`",
        ),
        (
            "schema = 1",
            "schema = 2",
            "1:10",
            "schema 2 is not known here",
        ),
    ] {
        let text = master();
        assert!(text.contains(good), "{good}");
        let said = problems(&text.replacen(good, bad, 1));
        assert!(
            said.starts_with(place) && said.contains(reason),
            "{bad}: {said}"
        );
    }
}

#[test]
fn what_does_not_hold_together_is_refused() {
    for (good, bad, reason) in [
        (
            "\"dev-2\", address",
            "\"dev-1\", address",
            "master name dev-1 stands twice",
        ),
        (
            "10.77.0.12",
            "10.77.0.11",
            "master address 10.77.0.11 stands twice",
        ),
        (
            "hostname = \"dev-1\"",
            "hostname = \"dev-3\"",
            "`cluster.masters` has no dev-3",
        ),
        (
            "[\"master\", \"agent\"]",
            "[\"agent\"]",
            "give it the role `master`",
        ),
        (
            "[\"master\", \"agent\"]",
            "[\"agent\"]",
            "only masters hold issuers",
        ),
        (
            "\"agent\"]",
            "\"agent\", \"public-agent\"]",
            "exclude each other",
        ),
        (
            "\"agent\"]",
            "\"agent\", \"agent\"]",
            "role agent stands twice",
        ),
        (
            "addresses = [\"10.77.0.11/24\"",
            "addresses = [\"10.77.0.9/24\"",
            "no link of this node has",
        ),
        (
            "addresses = [\"10.77.0.11/24\"",
            "addresses = [\"10.77.0.11/24\", \"10.77.0.12/24\"",
            "address of master dev-2",
        ),
        (
            "\"fd00::11/64\"",
            "\"10.77.0.11/16\"",
            "address 10.77.0.11 stands twice",
        ),
        ("join-token-of-the-test", "short", "shorter than 16"),
        (
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN EC KEY-----",
            "not a PKCS#8 key",
        ),
        ("AAAAetcd_peer", "AAAAnode_api", "share a root"),
    ] {
        let said = problems(&master().replacen(good, bad, 1));
        assert!(said.contains(reason), "{bad}: {said}");
    }
}

#[test]
fn time_servers_are_addresses_or_names() {
    let with = |servers: &str| {
        master().replace(
            "[trust]\n",
            &format!("[time]\nservers = {servers}\n[trust]\n"),
        )
    };
    let config = Config::parse(&with(r#"["10.0.0.1", "fd00::1", "ntp.example.org"]"#)).unwrap();
    assert_eq!(config.time.servers.len(), 3);
    for (bad, reason) in [
        (r#"["-a.b"]"#, "neither an address nor a domain name"),
        (r#"["a", "a"]"#, "time server a stands twice"),
        (r#"["1","2","3","4","5","6","7","8","9"]"#, "at most 8"),
    ] {
        let said = problems(&with(bad));
        assert!(said.contains(reason), "{bad}: {said}");
    }
}

#[test]
fn missing_roots_are_named() {
    let text = master().replacen(&format!("[\"{}\"]", certificate("etcd_peer")), "[]", 1);
    assert!(problems(&text).contains("`trust.etcd_peer.roots` has 0 entries"));
    let text = master().replacen("cluster = { roots", "clusters = { roots", 1);
    assert!(problems(&text).contains("clusters"));
}

#[test]
fn all_problems_are_said_at_once() {
    let text = master()
        .replace("\"agent\"]", "\"agent\", \"agent\"]")
        .replace("mtu = 1500", "mtu = 1");
    assert_eq!(Config::parse(&text).unwrap_err().problems.len(), 2);
}

#[test]
fn a_ten_megabyte_document_is_refused_unread() {
    let text = "#".repeat(10 << 20);
    assert!(problems(&text).contains("at most 262144 are read"));
    assert!(
        Config::parse_bytes(text.as_bytes(), Hidden::Refuse)
            .unwrap_err()
            .to_string()
            .contains("at most")
    );
}

#[test]
fn bytes_that_are_not_text_are_refused_with_their_place() {
    let error = Config::parse_bytes(b"schema = 1\nname = \"\xff\"", Hidden::Refuse).unwrap_err();
    assert!(error.to_string().starts_with("2:9: not UTF-8"), "{error}");
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let text = format!(
        "schema = 1\nx = {}{}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(Config::parse(&text).is_err());
}

#[test]
fn network_prefixes_contain_their_addresses() {
    let network: crate::Address = "10.77.0.0/24".parse().unwrap();
    assert!(network.contains("10.77.0.255".parse().unwrap()));
    assert!(!network.contains("10.77.1.0".parse().unwrap()));
    let all: crate::Address = "::/0".parse().unwrap();
    assert!(all.contains("fd00::1".parse().unwrap()) && !all.contains("10.0.0.1".parse().unwrap()));
}

#[test]
fn boot_facts_without_a_config_say_so() {
    let facts = BootFacts::default();
    assert_eq!((facts.config, facts.roles.len()), (ConfigState::Missing, 0));
    assert_eq!(ConfigState::Invalid.to_string(), "invalid");
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Config::parse_bytes(&bytes, Hidden::Refuse).is_err());
    }

    #[test]
    fn a_damaged_document_never_panics_and_places_its_error(offset in 0usize..3000, byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = master().into_bytes();
        let offset = offset % bytes.len();
        if cut { bytes.truncate(offset) } else { bytes[offset] = byte }
        if let Err(error) = Config::parse_bytes(&bytes, Hidden::Refuse) {
            prop_assert!(error.problems.iter().all(|p| p.line >= 1 && p.column >= 1));
        }
    }

    #[test]
    fn addresses_written_are_read_back(ip in any::<u32>(), prefix in 0u8..=32) {
        let address = crate::Address { ip: std::net::IpAddr::V4(ip.into()), prefix };
        prop_assert_eq!(address.to_string().parse::<crate::Address>().unwrap(), address);
    }
}
