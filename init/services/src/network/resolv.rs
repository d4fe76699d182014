//! What programs and the node's resolver find names by: resolv.conf(5), which names the resolver and nobody else, and
//! the resolver's settings, which name the config's upstreams and those of the leases.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use spec_config::Network;
use spec_layout::address::RESOLVER;

use crate::network::dhcp::Lease;

/// The text of resolv.conf.
pub(crate) fn text<'a>(leases: impl Iterator<Item = &'a Lease>) -> String {
    let mut text = String::from(
        "# Written by bedplate-network. The node's resolver asks those that the machine config and DHCP name.\n",
    );
    text.push_str(&format!("nameserver {RESOLVER}\n"));
    // It passes on that signatures were checked only where nobody on the way can have said so.
    text.push_str("options edns0 trust-ad\n");
    let mut domains: Vec<&str> = Vec::new();
    for domain in leases.filter_map(|lease| lease.domain.as_deref()) {
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    if !domains.is_empty() {
        text.push_str(&format!("search {}\n", domains.join(" ")));
    }
    text
}

/// The resolver's settings as JSON.
pub(crate) fn settings<'a>(
    network: &Network,
    leases: impl Iterator<Item = &'a Lease>,
) -> io::Result<String> {
    let leased = leases.flat_map(|lease| &lease.name_servers);
    let resolver = network.resolver(leased.map(|server| IpAddr::V4(*server)));
    Ok(serde_json::to_string(&resolver)?)
}

/// Writes the file, whole or not at all, and only when it changes.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use spec_config::{Resolver, Upstream};

    use super::*;
    use crate::network::dhcp::lease::tests::hour;

    fn lease() -> Lease {
        Lease {
            name_servers: vec![[10, 77, 0, 1].into(), [10, 0, 2, 3].into()],
            domain: Some("example.org".into()),
            ..hour()
        }
    }

    #[test]
    fn programs_ask_the_nodes_resolver_and_nobody_else() {
        let text = text([lease(), lease()].iter());
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "nameserver 127.0.0.53",
                "options edns0 trust-ad",
                "search example.org"
            ]
        );
    }

    #[test]
    fn the_resolver_asks_those_of_the_config_and_then_those_of_leases() {
        let network = Network {
            nameservers: vec!["10.77.0.1".parse().unwrap()],
            ..Network::default()
        };
        let text = settings(&network, [lease()].iter()).unwrap();
        let resolver: Resolver = serde_json::from_str(&text).unwrap();
        let expected = ["10.77.0.1", "10.0.2.3"].map(|ip| Upstream::plain(ip.parse().unwrap()));
        assert_eq!(resolver.upstreams, expected);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        write(&path, "one\n").unwrap();
        write(&path, "two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
