//! `bridge = { ports, stp }`: a switch of links in the kernel.

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::network::reference::{self, LinkReference};

/// A bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// The links it switches between; a bridge without any is for others to plug into.
    #[serde(default)]
    pub ports: Vec<LinkReference>,
    /// Whether it speaks the spanning tree protocol (IEEE 802.1D).
    #[serde(default)]
    pub stp: bool,
}

pub(super) fn check(check: &mut Check<'_>, path: &str, bridge: &Bridge) -> bool {
    reference::check(check, &format!("{path}.ports"), &bridge.ports)
}
