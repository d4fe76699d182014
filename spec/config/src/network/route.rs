//! `[[network.links]] routes`: static routes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::value::{Address, InvalidValue, quoted};

/// A static route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

pub(super) fn check(check: &mut Check<'_>, path: &str, route: &Route) {
    match (route.to, route.via) {
        (Destination::Default, None) => check.refuse(path, "a default route needs `via`"),
        (Destination::Network(network), Some(via)) if network.ip.is_ipv4() != via.is_ipv4() => {
            let message = format!("{network} and {via} are of different address families");
            check.refuse(format!("{path}.via"), message);
        }
        (_, Some(via)) if via.is_unspecified() || via.is_multicast() => {
            check.refuse(format!("{path}.via"), format!("{via} cannot be a next hop"));
        }
        _ => {}
    }
}
