//! The network of a node. Also JSON, for the network service, which needs nothing else of the machine config.

mod bond;
mod bridge;
mod link;
mod overlap;
mod reference;
mod resolver;
mod route;
mod topology;
mod vlan;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::value::Address;

pub use bond::{Bond, BondMode, LacpRate, XmitHashPolicy};
pub use bridge::Bridge;
pub use link::{Dummy, Link, LinkKind, LinkMatch};
pub use reference::LinkReference;
pub use resolver::{Cache, Domain, MAX_UPSTREAMS, Resolver, Upstream};
pub use route::{Destination, Route};
pub use vlan::Vlan;

/// The network of a node. Without links: DHCPv4 on every physical link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Name servers that the node's resolver asks, before those that DHCP gives.
    #[serde(default)]
    pub nameservers: Vec<IpAddr>,
    /// Whom else the node's resolver asks, and how.
    #[serde(default)]
    pub resolver: Resolver,
    /// Links to configure or to make; one that no entry matches stays as it is.
    #[serde(default)]
    pub links: Vec<Link>,
}

/// Every static address with its key path.
pub(crate) fn addresses(network: &Network) -> impl Iterator<Item = (String, Address)> {
    network.links.iter().enumerate().flat_map(|(link, entry)| {
        let place = move |index| format!("network.links[{link}].addresses[{index}]");
        let addresses = entry.addresses.iter().enumerate();
        addresses.map(move |(index, address)| (place(index), *address))
    })
}

/// What only holds, or fails, between the values of a network.
pub(crate) fn check(check: &mut Check<'_>, network: &Network) {
    let lists = check.bounded("network.nameservers", &network.nameservers)
        && check.bounded("network.links", &network.links);
    if !lists {
        return;
    }
    resolver::check(check, network);
    let mut bounded = true;
    for (index, link) in network.links.iter().enumerate() {
        bounded &= link::check(check, &format!("network.links[{index}]"), link);
    }
    if !bounded {
        return;
    }
    let addresses: Vec<(String, IpAddr)> = addresses(network)
        .map(|(path, address)| (path, address.ip))
        .collect();
    check.unique(&addresses, "address");
    overlap::check(check, network);
    topology::check(check, network);
}

#[cfg(test)]
mod tests;
