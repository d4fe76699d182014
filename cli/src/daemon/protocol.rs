//! What is said on the daemon's control socket: one JSON message per line, requests up, replies down.
//!
//! Requests on one connection are answered in order. [`Request::Watch`] is answered by a status after each look
//! at the cluster, until the next request or the end of the connection.

use std::net::SocketAddr;

use qemu_tests::ClusterStatus;
use serde::{Deserialize, Serialize};

/// Most bytes of one line.
pub(crate) const MAX_LINE: u64 = 1 << 20;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Who is in the cluster.
    Describe,
    /// How it is now.
    Status,
    /// How it is, again and again.
    Watch,
    /// Switch on the nodes that are off.
    Start,
    /// This connection no longer keeps the cluster alive: it is up and stays.
    Release,
    /// Stop all nodes in order, then end.
    Down {
        /// Seconds until the power is cut.
        seconds: u64,
    },
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// Done.
    Ok,
    /// Who is in the cluster.
    Description(Description),
    /// How it is.
    Status(Box<ClusterStatus>),
    /// All nodes are off; the daemon ends.
    Down {
        /// Nodes that did not stop in time.
        forced: Vec<String>,
    },
    /// Refused or failed; says why and what to do.
    Error(String),
}

/// A running cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// Its name.
    pub(crate) name: String,
    /// The recipe it was started with.
    pub(crate) recipe: String,
    /// The image its disks were made of, `ID_VERSION`.
    pub(crate) image: String,
    /// Memory of a node.
    pub(crate) memory_mib: u32,
    /// Virtual processors of a node.
    pub(crate) cpus: u32,
    /// The kernel is booted directly, not by UEFI.
    pub(crate) direct: bool,
    /// The daemon.
    pub(crate) pid: u32,
    /// Its nodes, in order.
    pub(crate) nodes: Vec<NodeDescription>,
}

/// A node of a running cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeDescription {
    /// Its hostname.
    pub(crate) name: String,
    /// Its address in the LAN.
    pub(crate) address: String,
    /// Root hash of the build that its disk was made of, if that is known.
    pub(crate) root_hash: Option<String>,
    /// Where its API is reached from this machine.
    pub(crate) api: SocketAddr,
    /// Serial console.
    pub(crate) console: std::path::PathBuf,
    /// What the console has shown.
    pub(crate) serial_log: std::path::PathBuf,
    /// QEMU, while it runs.
    pub(crate) pid: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let request = Request::Down { seconds: 20 };
        let text = serde_json::to_string(&request).expect("json");
        assert_eq!(text, r#"{"down":{"seconds":20}}"#);
        assert_eq!(
            serde_json::from_str::<Request>(&text).expect("back"),
            request
        );
        let reply = serde_json::to_string(&Reply::Error("two\nlines".into())).expect("json");
        assert!(!reply.contains('\n'));
    }

    #[test]
    fn an_unknown_request_is_refused() {
        assert!(serde_json::from_str::<Request>(r#"{"explode":{}}"#).is_err());
        assert!(serde_json::from_str::<Request>(r#"{"down":{"seconds":1,"hard":true}}"#).is_err());
    }
}
