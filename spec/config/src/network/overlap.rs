//! Networks of two links that overlap: the kernel would choose one of the links for both.

use crate::check::Check;
use crate::network::Network;
use crate::value::Address;

/// Refuses an address whose network overlaps that of another link. An address without a network (/32, /128) and one
/// that is of the link only (fe80::/10) stand for themselves.
pub(super) fn check(check: &mut Check<'_>, network: &Network) {
    let mut seen: Vec<(usize, Address)> = Vec::new();
    for (link, entry) in network.links.iter().enumerate() {
        for (index, address) in entry.addresses.iter().enumerate() {
            if !has_network(address) {
                continue;
            }
            let other = seen.iter().find(|(of, other)| {
                *of != link && other.ip != address.ip && overlap(other, address)
            });
            if let Some((of, other)) = other {
                let message = format!(
                    "the network of {address} overlaps that of {other} of network.links[{of}]; give each link a network of its own"
                );
                check.refuse(format!("network.links[{link}].addresses[{index}]"), message);
            }
            seen.push((link, *address));
        }
    }
}

fn has_network(address: &Address) -> bool {
    match address.ip {
        std::net::IpAddr::V4(_) => address.prefix < 32,
        std::net::IpAddr::V6(ip) => address.prefix < 128 && !ip.is_unicast_link_local(),
    }
}

fn overlap(one: &Address, other: &Address) -> bool {
    one.contains(other.ip) || other.contains(one.ip)
}
