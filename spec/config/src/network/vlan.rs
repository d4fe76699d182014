//! `vlan = { id, parent }`: a link for the frames of one VLAN (IEEE 802.1Q) of another link.

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::network::reference::{self, LinkReference};

/// VLAN ids that name a VLAN: 0 is priority tags, 4095 is reserved (802.1Q, table 9-2).
const IDS: std::ops::RangeInclusive<u16> = 1..=4094;

/// A VLAN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Vlan {
    /// 1 to 4094.
    pub id: u16,
    /// The link that carries the tagged frames.
    pub parent: LinkReference,
}

pub(super) fn check(check: &mut Check<'_>, path: &str, vlan: &Vlan) -> bool {
    if !IDS.contains(&vlan.id) {
        let message = format!("VLAN id {} is outside 1 to 4094", vlan.id);
        check.refuse(format!("{path}.id"), message);
    }
    reference::check_one(check, &format!("{path}.parent"), &vlan.parent);
    true
}
