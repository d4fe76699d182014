//! The machine config in the node API: what is in force, what is tried, what was before.

use serde::{Deserialize, Serialize};
use spec_config::Difference;
use utoipa::ToSchema;

/// Longest time a config may be tried, in seconds.
pub const MAX_TRIAL_SECONDS: u32 = 3600;

/// `GET /v1/config`: the machine config in force, with its defaults written out and its secrets hidden.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigView {
    /// `ok`, `missing` or `invalid`.
    pub config: String,
    /// Where it came from, or what is wrong with it.
    pub message: Option<String>,
    /// The TOML document. While a config is on trial, it is that one.
    pub document: Option<String>,
    /// Its number in the history.
    #[serde(default)]
    pub number: Option<u64>,
    /// It is on trial: what was before comes back unless it is confirmed.
    #[serde(default)]
    pub trial: Option<ConfigTrial>,
    /// Number of the one that comes into force at the next boot.
    #[serde(default)]
    pub at_reboot: Option<u64>,
}

/// A config that is tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigTrial {
    /// Number in the history.
    pub number: u64,
    /// Seconds until what was before comes back.
    pub seconds_left: u32,
}

/// When a config comes into force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ConfigMode {
    /// Never: only what it would change is told.
    DryRun,
    /// Now, and at every later boot.
    #[default]
    Now,
    /// Now; what was before comes back after so many seconds, or with the next boot, unless it is confirmed.
    Try(u32),
    /// At the next boot.
    AtReboot,
}

/// `POST /v1/config`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigRequest {
    /// The TOML document. A secret written as `(hidden)`, as views show it, stays as it is in force.
    pub document: String,
    /// When it comes into force.
    #[serde(default)]
    pub mode: ConfigMode,
}

impl std::fmt::Debug for ConfigRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigRequest")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// `POST /v1/config/rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigRollback {
    /// Number in the history; without one, the config that was in force before.
    #[serde(default)]
    pub number: Option<u64>,
    /// When it comes into force.
    #[serde(default)]
    pub mode: ConfigMode,
}

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigChange {
    /// What it changes; nothing if it is the config in force already.
    pub differences: Vec<Difference>,
    /// Changes that a running node cannot take: they need a reboot.
    pub needs_reboot: Vec<String>,
    /// Its number in the history, once it has one.
    pub number: Option<u64>,
    /// Seconds until what was before comes back, if it is tried.
    pub trial_seconds: Option<u32>,
    /// It waits for the next boot.
    pub at_reboot: bool,
    /// Number of the one that waited for the next boot and does no more.
    #[serde(default)]
    pub dropped: Option<u64>,
}

/// What became of a config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigOutcome {
    /// It is in force.
    InForce,
    /// It was in force until another came.
    Replaced,
    /// It is tried.
    OnTrial,
    /// It was tried and not confirmed.
    WentBack,
    /// It waits for the next boot.
    AtReboot,
    /// It waited for a boot, and another came before.
    Dropped,
    /// It was not taken up, or not by all whom it concerned.
    Failed,
}

/// One line of `GET /v1/config/history`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigEntry {
    /// Its number: greater than those before.
    pub number: u64,
    /// When it came, microseconds since the epoch.
    pub realtime_us: u64,
    /// Who brought it: an operator, or the place it was found at.
    pub by: String,
    /// What became of it.
    pub outcome: ConfigOutcome,
}
