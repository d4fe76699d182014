//! The network of a node. Also JSON, for the network service, which needs nothing else of the machine config.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::value::{Address, InvalidValue, Mac, quoted};

/// The network of a node. Without links: DHCPv4 on every physical link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Name servers for resolv.conf, before those that DHCP gives.
    #[serde(default)]
    pub nameservers: Vec<IpAddr>,
    /// Links to configure; one that no entry matches stays down.
    #[serde(default)]
    pub links: Vec<Link>,
}

/// What to do with the link that matches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Which link.
    #[serde(rename = "match")]
    pub matches: LinkMatch,
    /// Static addresses.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// Whether to ask for an IPv4 address by DHCP.
    #[serde(default)]
    pub dhcp4: bool,
    /// Largest packet in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Static routes.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// Which link an entry is for: every condition given must hold, and at least one is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkMatch {
    /// Permanent hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Interface name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Kernel driver, such as `virtio_net`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

/// A static route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Where to.
    pub to: Destination,
    /// Next hop; without one the destination is on the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// Lower is preferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// Everywhere, in the address family of `via`.
    Default,
    /// A network.
    Network(Address),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Network(address) => address.fmt(f),
        }
    }
}

impl FromStr for Destination {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text == "default" {
            return Ok(Self::Default);
        }
        text.parse().map(Self::Network).map_err(|_| {
            InvalidValue(format!(
                "{} is not a destination: `default` or NETWORK/PREFIX",
                quoted(text)
            ))
        })
    }
}

impl TryFrom<String> for Destination {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(value: Destination) -> String {
        value.to_string()
    }
}
