//! What a reader of the journal asks: one JSON line on the query socket, answered by one
//! `spec_api::LogEntry` per line (NDJSON) until there is no more, or for ever when following.

use serde::{Deserialize, Serialize};

/// A query; every field narrows the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Query {
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
