//! The types of the node API, version 1 (`/v1/...` on [`spec_layout`'s port] with mutual TLS).

mod config;
mod network;
mod run;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use config::{
    ConfigChange, ConfigEntry, ConfigMode, ConfigOutcome, ConfigRequest, ConfigRollback,
    ConfigTrial, ConfigView, MAX_TRIAL_SECONDS,
};
pub use network::{AddressView, LeaseView, LinkView, NetworkView, RouteView};
pub use run::{OutputStream, RunEnd, RunEvent, RunOutput, RunRequest, RunStarted};

/// `GET /v1/status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Hostname.
    pub name: String,
    /// Node id, 32 hex digits.
    pub node_id: String,
    /// `IMAGE_ID` of os-release.
    pub image: String,
    /// `IMAGE_VERSION` of os-release.
    pub version: String,
    /// Kernel release.
    pub kernel: String,
    /// Roles from the machine config.
    pub roles: Vec<String>,
    /// All local facts hold: boot-complete.target is active.
    pub ready: bool,
    /// Why not, one line each.
    pub waiting: Vec<String>,
    /// The kernel verifies the root on every read.
    pub root_verified: bool,
    /// Root hash of the verity tree, hex.
    pub root_hash: String,
    /// The state is in memory only.
    pub ephemeral: bool,
    /// Machine config: `ok`, `missing` or `invalid`.
    pub config: String,
    /// What is wrong with the config, with line and column.
    pub config_message: Option<String>,
    /// How the boot before this one ended: `clean`, `unclean`, `watchdog`, `first`.
    pub previous_boot: String,
    /// What PID 1 could not do, one line each.
    pub degraded: Vec<String>,
    /// Seconds since the kernel started.
    pub uptime_seconds: f64,
    /// Addresses in use, `ADDRESS/PREFIX`.
    pub addresses: Vec<String>,
}

/// One unit of `GET /v1/units`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Unit {
    /// Name with suffix.
    pub name: String,
    /// `Description=`.
    pub description: String,
    /// `loaded`, `not-found`, `bad-setting`, `masked`.
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active: String,
    /// systemd's sub state.
    pub sub: String,
    /// Main process.
    pub main_pid: Option<i32>,
    /// CLOCK_MONOTONIC microseconds of the last start of the main process.
    pub main_started_us: Option<u64>,
    /// Current memory of its cgroup in bytes.
    pub memory_bytes: Option<u64>,
    /// Automatic restarts.
    pub restarts: u32,
    /// systemd's result word.
    pub result: String,
    /// How the main process of the last run ended, systemd's `ExecMainCode=`: `exited`, `killed`, `dumped`.
    #[serde(default)]
    pub exec_main_code: Option<String>,
    /// Its exit code or signal, systemd's `ExecMainStatus=`.
    #[serde(default)]
    pub exec_main_status: Option<i32>,
    /// Why it waits or failed.
    pub reason: Option<String>,
}

/// One log entry of `GET /v1/logs` (newline-delimited JSON).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogEntry {
    /// Position in the journal, to continue after.
    pub cursor: String,
    /// Microseconds since the epoch.
    pub realtime_us: u64,
    /// CLOCK_BOOTTIME microseconds.
    pub monotonic_us: u64,
    /// Boot id.
    pub boot_id: String,
    /// Syslog priority 0-7.
    pub priority: u8,
    /// Unit that said it, empty for the kernel.
    pub unit: String,
    /// SYSLOG_IDENTIFIER or the program's name.
    pub identifier: String,
    /// Process, if known.
    pub pid: Option<i32>,
    /// The text, invalid UTF-8 replaced.
    pub message: String,
    /// Further fields, by their journal names.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub fields: std::collections::BTreeMap<String, String>,
}

/// One etcd member of `GET /v1/etcd/members`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EtcdMember {
    /// Its name, that of the node.
    pub name: String,
    /// Member id, hex.
    pub id: String,
    /// Its peer address.
    pub address: String,
    /// Answers and agrees with the leader.
    pub healthy: bool,
    /// Is the leader.
    pub leader: bool,
    /// A learner that is being replaced has not joined yet.
    pub learner: bool,
}

/// Every error body.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    /// What happened and what to do.
    pub error: String,
}

/// What `GET /v1/logs` is asked, and the journal by the node API: every field narrows the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogQuery {
    /// Only entries of this unit; the empty string means the kernel.
    pub unit: Option<String>,
    /// Only the last so many of those that match.
    pub lines: Option<u32>,
    /// Only entries after this cursor.
    pub after: Option<String>,
    /// Stay, and send what comes.
    pub follow: bool,
    /// Only entries of this boot, by its id of 32 hex digits.
    pub boot: Option<String>,
    /// Only entries of this syslog priority or a more urgent one.
    pub priority: Option<u8>,
}

/// What the cluster program of a master tells the node API: one JSON document per connection to its socket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    /// Its last decision about this node's etcd member, for people.
    pub state: String,
    /// etcd may run: membership is decided.
    pub decided: bool,
    /// What it waits for, one line each.
    pub waiting: Vec<String>,
    /// The members as the cluster sees them; empty while it has no leader that answers.
    pub members: Vec<EtcdMember>,
}

/// `POST /v1/join` at a master's cluster endpoint: a node asks for its certificate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The cluster it means.
    pub cluster_id: String,
    /// Its hostname.
    pub name: String,
    /// The join token of its machine config.
    pub token: String,
    /// PKCS#10 in PEM, for its node API.
    pub node_api: String,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What the master signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinAnswer {
    /// Certificate chain in PEM, end certificate first.
    pub node_api: String,
}
