//! Who a child is and what it may do.

use serde::{Deserialize, Serialize};

use crate::capability::CapabilitySet;

/// Numbers a process runs under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    #[serde(default)]
    pub groups: Vec<u32>,
}

/// Capability sets of the child.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capabilities {
    /// All that it may ever have; none means no bound.
    pub bounding: Option<CapabilitySet>,
    /// Kept over the change of user and over exec.
    pub ambient: CapabilitySet,
    /// PR_SET_SECUREBITS; 0 leaves them as they are.
    pub secure_bits: u32,
}

/// The secure bits that a directive names, `<linux/securebits.h>`.
const SECURE_BITS: u32 = 0x3f;

impl Capabilities {
    /// Refuses secure bits that no directive could have set.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.secure_bits & !SECURE_BITS {
            0 => Ok(()),
            odd => Err(format!(
                "capabilities.secure_bits: {odd:#x} is no secure bit"
            )),
        }
    }
}
