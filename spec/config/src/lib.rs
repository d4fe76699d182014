//! The machine config: one TOML document with `schema = 1`.
//!
//! [`document::Document`] is the text as written: unknown keys are refused, and each value that another one is
//! compared with keeps its place. [`Config`] is what it resolves to, checked as a whole. Both ways exist:
//! [`Config::parse`] and [`Config::to_toml`]; generators write with the second and so cannot write what
//! the first refuses.
//!
//! Every error has a line and a column. No error, `Debug` or `Display` shows a secret ([`Secret`]).
//! Pure: the caller reads the files.

pub mod document;
mod error;
mod facts;
mod network;
mod node;
mod resolve;
mod secret;
mod value;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use error::{Error, Problem};
pub use facts::{BootFacts, ConfigState};
pub use network::{Destination, Link, LinkMatch, Network, Route};
pub use node::NodeConfig;
pub use secret::Secret;
pub use value::{Address, ClusterId, Hostname, InvalidValue, Mac, Pem, Role};

/// Schema version this code reads and writes.
pub const SCHEMA: i64 = 1;
/// Most bytes of a document; a larger one is refused unread.
pub const MAX_DOCUMENT: usize = 256 * 1024;
/// Most masters of one cluster: etcd's own advice is seven.
pub const MAX_MASTERS: usize = 9;
/// Fewest characters of a join token.
pub const MIN_JOIN_TOKEN: usize = 16;

/// A machine config that holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The cluster this node belongs to.
    pub cluster: Cluster,
    /// This node.
    pub node: Node,
    /// Its network. Without links: DHCPv4 on every physical link.
    pub network: Network,
    /// Whom it trusts.
    pub trust: Trust,
}

/// The cluster a node belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Random, in every certificate.
    pub id: ClusterId,
    /// For people.
    pub name: Hostname,
    /// All masters.
    pub masters: Vec<Master>,
    /// What a node shows when it asks a master for certificates; absent in the public view only.
    pub join_token: Option<Secret>,
}

/// One master of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Master {
    /// Its hostname.
    pub name: Hostname,
    /// Where its peers and the other nodes reach it.
    pub address: IpAddr,
}

/// This node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its hostname, unique in the cluster.
    pub hostname: Hostname,
    /// What it does.
    pub roles: Vec<Role>,
}

/// Roots of trust: separate, and each a list, so that roots rotate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Who signs node API servers and operators.
    pub node_api: Vec<Pem>,
    /// Who signs etcd's members towards each other.
    pub etcd_peer: Vec<Pem>,
    /// Who signs etcd's clients and its client port.
    pub etcd_client: Vec<Pem>,
    /// Who signs masters towards joining nodes and each other.
    pub cluster: Vec<Pem>,
    /// The online intermediates, on masters only.
    pub issuers: Option<Issuers>,
}

/// The online intermediates of a master, one under each root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuers {
    /// Under `node-api`.
    pub node_api: Issuer,
    /// Under `etcd-peer`.
    pub etcd_peer: Issuer,
    /// Under `etcd-client`.
    pub etcd_client: Issuer,
    /// Under `cluster`.
    pub cluster: Issuer,
}

/// An intermediate certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Its certificate.
    pub certificate: Pem,
    /// Its PKCS#8 key in PEM.
    #[serde(serialize_with = "Secret::serialize_exposed_whole")]
    pub key: Secret,
}

impl Config {
    /// Reads a document; `Err` has every problem found, each with line and column.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let document = document::Document::parse(text)?;
        resolve::resolve(document, text)
    }

    /// Reads a document from bytes that may be anything.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_DOCUMENT {
            return Err(document::too_large(bytes.len()));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text),
            Err(error) => {
                let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let valid = String::from_utf8_lossy(valid);
                Err(Error::at(
                    &valid,
                    valid.len(),
                    "not UTF-8; write the machine config as UTF-8 text",
                ))
            }
        }
    }

    /// The document of this config, secrets included: for a file of mode 0600.
    pub fn to_toml(&self) -> Result<String, Error> {
        document::Document::from(self).to_toml()
    }

    /// The same config without join token and issuers: what the node API shows.
    pub fn without_secrets(&self) -> Self {
        let mut public = self.clone();
        public.cluster.join_token = None;
        public.trust.issuers = None;
        public
    }

    /// Whether this node has the role.
    pub fn has_role(&self, role: Role) -> bool {
        self.node.roles.contains(&role)
    }

    /// The masters list's entry of this node.
    pub fn own_master(&self) -> Option<&Master> {
        self.cluster
            .masters
            .iter()
            .find(|master| master.name == self.node.hostname)
    }

    /// The masters other than this node.
    pub fn other_masters(&self) -> impl Iterator<Item = &Master> {
        self.cluster
            .masters
            .iter()
            .filter(|master| master.name != self.node.hostname)
    }
}

#[cfg(test)]
mod tests;
