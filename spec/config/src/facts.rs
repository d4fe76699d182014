//! [`BootFacts`]: what `services node config` tells PID 1, as JSON at `spec_layout::path::BOOT_FACTS`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a machine config was found and whether it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfigState {
    /// Found and applied.
    Ok,
    /// None was found: the node runs no cluster component.
    #[default]
    Missing,
    /// Found and refused: the node runs no cluster component.
    Invalid,
}

impl ConfigState {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Invalid => "invalid",
        }
    }
}

impl fmt::Display for ConfigState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The little that PID 1 needs of the machine config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFacts {
    /// Hostname to set.
    pub hostname: Option<String>,
    /// Roles of the node, none unless the config holds.
    pub roles: Vec<String>,
    /// State of the config.
    pub config: ConfigState,
    /// Where the config came from, or what is wrong with it and what to do.
    pub message: Option<String>,
}
