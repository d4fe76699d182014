//! resolv.conf(5): the config's name servers, then those of the leases.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use spec_config::Network;

use crate::network::dhcp::Lease;

/// What libc reads; more would only be waited for.
const SERVERS_MAX: usize = 3;

/// The file's text.
pub(crate) fn text<'a>(
    network: &Network,
    leases: impl Iterator<Item = &'a Lease> + Clone,
) -> String {
    let mut servers: Vec<IpAddr> = Vec::new();
    let leased = leases
        .clone()
        .flat_map(|lease| lease.name_servers.iter().map(|server| IpAddr::V4(*server)));
    for server in network.nameservers.iter().copied().chain(leased) {
        if !servers.contains(&server) && servers.len() < SERVERS_MAX {
            servers.push(server);
        }
    }
    let mut text =
        String::from("# Written by bedplate-network from the machine config and DHCP.\n");
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
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

/// Writes the file, whole or not at all, and only when it changes.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let draft = path.with_extension("conf.new");
    std::fs::write(&draft, text)?;
    std::fs::rename(draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::dhcp::lease::tests::hour;

    #[test]
    fn the_config_comes_first_and_each_server_once() {
        let network = Network {
            nameservers: vec!["10.77.0.1".parse().unwrap()],
            links: Vec::new(),
        };
        let lease = Lease {
            name_servers: vec![
                [10, 77, 0, 1].into(),
                [10, 0, 2, 3].into(),
                [1, 1, 1, 1].into(),
                [8, 8, 8, 8].into(),
            ],
            domain: Some("example.org".into()),
            ..hour()
        };
        let text = text(&network, [lease].iter());
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "nameserver 10.77.0.1",
                "nameserver 10.0.2.3",
                "nameserver 1.1.1.1",
                "search example.org"
            ]
        );
    }

    #[test]
    fn it_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        write(&path, "one\n").unwrap();
        write(&path, "two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
