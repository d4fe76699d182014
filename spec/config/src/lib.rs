//! The machine config: one TOML document with `schema = 1`.
//!
//! [`Config`] is the document, key by key, and what it resolves to: what is not written has its default. Unknown keys
//! are refused, and what only holds between several values is checked as a whole. Both ways exist: [`Config::parse`]
//! and [`Config::to_toml`]; generators write with the second and so cannot write what the first refuses.
//!
//! Every error has a line and a column ([`Problem`]). No error, `Debug` or masked view shows a secret ([`Secret`]).
//! [`difference::between`] says what one document changes in another.
//! Pure: the caller reads the files. With the feature `schema`, the JSON Schema that editors complete by
//! ([`schema::document`]).

mod check;
pub mod difference;
mod error;
mod facts;
mod network;
mod node;
mod place;
#[cfg(feature = "schema")]
pub mod schema;
mod secret;
mod time;
mod value;
mod version;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use difference::Difference;
pub use error::{Error, Problem};
pub use facts::{BootFacts, ConfigState};
pub use network::{
    Bond, BondMode, Bridge, Cache, Destination, Domain, Dummy, LacpRate, Link, LinkKind, LinkMatch,
    LinkReference, MAX_UPSTREAMS, Network, Resolver, Route, Upstream, Vlan, XmitHashPolicy,
};
pub use node::NodeConfig;
pub use secret::{HIDDEN, Secret};
pub use time::{Time, TimeServer};
pub use value::{Address, ClusterId, DomainName, Hostname, InvalidValue, LinkName, Mac, Pem, Role};
pub use version::{SCHEMA, Schema};

/// Most bytes of a document; a larger one is refused unread.
pub const MAX_DOCUMENT: usize = 256 * 1024;
/// Most masters of one cluster: etcd's own advice is seven.
pub const MAX_MASTERS: usize = 9;
/// Fewest characters of a join token.
pub const MIN_JOIN_TOKEN: usize = 16;

/// A machine config that holds together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this document's form.
    pub schema: Schema,
    /// The cluster this node belongs to.
    pub cluster: Cluster,
    /// This node.
    pub node: Node,
    /// Its network. Without links: DHCPv4 on every physical link.
    #[serde(default)]
    pub network: Network,
    /// Its clock.
    #[serde(default)]
    pub time: Time,
    /// Whom it trusts.
    pub trust: Trust,
}

/// The cluster a node belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Random, in every certificate: 32 lower-case hex digits.
    pub id: ClusterId,
    /// For people.
    pub name: Hostname,
    /// All masters.
    pub masters: Vec<Master>,
    /// What a node shows when it asks a master for certificates: 16 characters or more.
    pub join_token: Secret,
}

/// One master of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Master {
    /// Its hostname.
    pub name: Hostname,
    /// Where its peers and the other nodes reach it.
    pub address: IpAddr,
}

/// This node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its hostname, unique in the cluster.
    pub hostname: Hostname,
    /// What it does.
    #[serde(default)]
    pub roles: Vec<Role>,
}

/// Roots of trust: separate, and each a list, so that roots rotate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Who signs node API servers and operators.
    pub node_api: TrustStore,
    /// Who signs etcd's members towards each other.
    pub etcd_peer: TrustStore,
    /// Who signs etcd's clients and its client port.
    pub etcd_client: TrustStore,
    /// Who signs masters towards joining nodes and each other.
    pub cluster: TrustStore,
    /// The online intermediates, on masters only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Issuers>,
}

/// The roots of one kind of trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TrustStore {
    /// Certificates in PEM.
    pub roots: Vec<Pem>,
}

impl From<Vec<Pem>> for TrustStore {
    fn from(roots: Vec<Pem>) -> Self {
        Self { roots }
    }
}

/// The online intermediates of a master, one under each root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Its certificate.
    pub certificate: Pem,
    /// Its PKCS#8 key in PEM.
    pub key: Secret,
}

/// What becomes of a secret that is written as [`HIDDEN`], as in a view of a config in force.
#[derive(Debug, Clone, Copy)]
pub enum Hidden<'a> {
    /// Refused: nobody could fill it in.
    Refuse,
    /// Left as it is: whoever gets the document next fills it in.
    Keep,
    /// Taken from this config.
    From(&'a Config),
}

impl Config {
    /// Reads a document; `Err` has every problem found, each with line and column.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_with(text, Hidden::Refuse)
    }

    /// Reads a document in which secrets may be hidden.
    pub fn parse_with(text: &str, hidden: Hidden<'_>) -> Result<Self, Error> {
        if text.len() > MAX_DOCUMENT {
            return Err(error::too_large(text.len()));
        }
        version::check(text)?;
        let mut config: Self =
            toml::from_str(text).map_err(|error| Error::from_toml(text, &error))?;
        if let Hidden::From(other) = hidden {
            config.fill_hidden(other);
        }
        check::check(&config, text, matches!(hidden, Hidden::Keep))?;
        Ok(config)
    }

    /// Reads a document from bytes that may be anything.
    pub fn parse_bytes(bytes: &[u8], hidden: Hidden<'_>) -> Result<Self, Error> {
        if bytes.len() > MAX_DOCUMENT {
            return Err(error::too_large(bytes.len()));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse_with(text, hidden),
            Err(error) => Err(error::not_utf8(bytes, error)),
        }
    }

    /// The document of this config, secrets included: for a file of mode 0600.
    pub fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|error| Error::at("", 0, error.to_string()))
    }

    /// The same config with [`HIDDEN`] in place of each secret: what the node API shows.
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        masked.secrets_mut().for_each(|(_, secret)| secret.mask());
        masked
    }

    fn fill_hidden(&mut self, other: &Self) {
        let mut other = other.clone();
        let known: Vec<(String, Secret)> = other
            .secrets_mut()
            .map(|(place, secret)| (place, secret.clone()))
            .collect();
        for (place, secret) in self.secrets_mut() {
            if secret.expose() == HIDDEN
                && let Some((_, known)) = known.iter().find(|(name, _)| *name == place)
            {
                *secret = known.clone();
            }
        }
    }

    /// Every secret with its key path: the one list of them.
    fn secrets_mut(&mut self) -> impl Iterator<Item = (String, &mut Secret)> {
        let token = (
            "cluster.join_token".to_owned(),
            &mut self.cluster.join_token,
        );
        let issuers = self.trust.issuers.iter_mut().flat_map(|issuers| {
            let all = [
                ("node_api", &mut issuers.node_api),
                ("etcd_peer", &mut issuers.etcd_peer),
                ("etcd_client", &mut issuers.etcd_client),
                ("cluster", &mut issuers.cluster),
            ];
            all.map(|(name, issuer)| (format!("trust.issuers.{name}.key"), &mut issuer.key))
        });
        std::iter::once(token).chain(issuers)
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

impl Trust {
    /// The trust stores by their names in the document.
    pub fn stores(&self) -> [(&'static str, &TrustStore); 4] {
        [
            ("node_api", &self.node_api),
            ("etcd_peer", &self.etcd_peer),
            ("etcd_client", &self.etcd_client),
            ("cluster", &self.cluster),
        ]
    }
}

impl Issuers {
    /// The issuers by their names in the document.
    pub fn all(&self) -> [(&'static str, &Issuer); 4] {
        [
            ("node_api", &self.node_api),
            ("etcd_peer", &self.etcd_peer),
            ("etcd_client", &self.etcd_client),
            ("cluster", &self.cluster),
        ]
    }
}

#[cfg(test)]
mod tests;
