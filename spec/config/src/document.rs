//! The document as written, key by key. What it means is [`crate::Config`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::error::{Error, Problem};
use crate::network::{LinkMatch, Route};
use crate::secret::Secret;
use crate::value::{Address, ClusterId, Hostname, Pem, Role};
use crate::{Config, MAX_DOCUMENT, SCHEMA};

/// The whole document.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Always [`SCHEMA`].
    pub schema: i64,
    /// The cluster.
    pub cluster: Cluster,
    /// This node.
    pub node: Node,
    /// Its network.
    #[serde(default)]
    pub network: Network,
    /// Its trust.
    pub trust: Trust,
}

/// `[cluster]`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// 32 hex digits.
    pub id: ClusterId,
    /// A name for people.
    pub name: Hostname,
    /// All masters.
    pub masters: Spanned<Vec<Master>>,
    /// Shown by joining nodes.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "Secret::serialize_exposed"
    )]
    pub join_token: Option<Secret>,
}

/// One of `cluster.masters`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Master {
    /// Its hostname.
    pub name: Spanned<Hostname>,
    /// Its address.
    pub address: Spanned<IpAddr>,
}

/// `[node]`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name.
    pub hostname: Spanned<Hostname>,
    /// Its roles.
    #[serde(default)]
    pub roles: Vec<Spanned<Role>>,
}

/// `[network]`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Name servers.
    #[serde(default)]
    pub nameservers: Vec<IpAddr>,
    /// `[[network.links]]`.
    #[serde(default)]
    pub links: Vec<Link>,
}

/// One of `[[network.links]]`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Which link.
    #[serde(rename = "match")]
    pub matches: Spanned<LinkMatch>,
    /// Static addresses.
    #[serde(default)]
    pub addresses: Vec<Spanned<Address>>,
    /// DHCPv4.
    #[serde(default)]
    pub dhcp4: bool,
    /// MTU in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Spanned<u32>>,
    /// Static routes.
    #[serde(default)]
    pub routes: Vec<Spanned<Route>>,
}

/// `[trust]`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Root `node-api`.
    pub node_api: Store,
    /// Root `etcd-peer`.
    pub etcd_peer: Store,
    /// Root `etcd-client`.
    pub etcd_client: Store,
    /// Root `cluster`.
    pub cluster: Store,
    /// Masters only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Spanned<Issuers>>,
}

/// One trust store.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// PEM certificates.
    pub roots: Spanned<Vec<Pem>>,
}

/// `[trust.issuers]`.
#[derive(Debug, Serialize, Deserialize)]
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

/// One intermediate.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Its certificate.
    pub certificate: Pem,
    /// Its key.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "Secret::serialize_exposed"
    )]
    pub key: Option<Secret>,
}

/// Only the schema: read first, so that a newer document is called newer and not wrong.
#[derive(Deserialize)]
struct Version {
    schema: Option<Spanned<i64>>,
}

/// The refusal of a document of so many bytes.
pub(crate) fn too_large(bytes: usize) -> Error {
    let message =
        format!("the document has {bytes} bytes or more; at most {MAX_DOCUMENT} are read");
    Error {
        problems: vec![Problem {
            line: 1,
            column: 1,
            message,
        }],
    }
}

impl Document {
    /// Reads the text, key by key.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_DOCUMENT {
            return Err(too_large(text.len()));
        }
        let version: Version =
            toml::from_str(text).map_err(|error| Error::from_toml(text, &error))?;
        match version.schema {
            None => {
                return Err(Error::at(
                    text,
                    0,
                    format!("`schema` is missing; write `schema = {SCHEMA}`"),
                ));
            }
            Some(schema) if *schema.get_ref() != SCHEMA => {
                let message = format!(
                    "schema {} is not known here; this image reads {SCHEMA}",
                    schema.get_ref()
                );
                return Err(Error::at(text, schema.span().start, message));
            }
            Some(_) => {}
        }
        toml::from_str(text).map_err(|error| Error::from_toml(text, &error))
    }

    /// The text, secrets included.
    pub fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|error| Error::at("", 0, error.to_string()))
    }
}

fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn store(roots: &[Pem]) -> Store {
    Store {
        roots: unplaced(roots.to_vec()),
    }
}

fn issuer(issuer: &crate::Issuer) -> Issuer {
    Issuer {
        certificate: issuer.certificate.clone(),
        key: Some(issuer.key.clone()),
    }
}

impl From<&Config> for Document {
    fn from(config: &Config) -> Self {
        let masters = config.cluster.masters.iter();
        let masters = masters.map(|m| Master {
            name: unplaced(m.name.clone()),
            address: unplaced(m.address),
        });
        let trust = &config.trust;
        Self {
            schema: SCHEMA,
            cluster: Cluster {
                id: config.cluster.id.clone(),
                name: config.cluster.name.clone(),
                masters: unplaced(masters.collect()),
                join_token: config.cluster.join_token.clone(),
            },
            node: Node {
                hostname: unplaced(config.node.hostname.clone()),
                roles: config.node.roles.iter().copied().map(unplaced).collect(),
            },
            network: Network {
                nameservers: config.network.nameservers.clone(),
                links: config.network.links.iter().map(Link::from).collect(),
            },
            trust: Trust {
                node_api: store(&trust.node_api),
                etcd_peer: store(&trust.etcd_peer),
                etcd_client: store(&trust.etcd_client),
                cluster: store(&trust.cluster),
                issuers: trust.issuers.as_ref().map(|issuers| {
                    unplaced(Issuers {
                        node_api: issuer(&issuers.node_api),
                        etcd_peer: issuer(&issuers.etcd_peer),
                        etcd_client: issuer(&issuers.etcd_client),
                        cluster: issuer(&issuers.cluster),
                    })
                }),
            },
        }
    }
}

impl From<&crate::Link> for Link {
    fn from(link: &crate::Link) -> Self {
        Self {
            matches: unplaced(link.matches.clone()),
            addresses: link.addresses.iter().copied().map(unplaced).collect(),
            dhcp4: link.dhcp4,
            mtu: link.mtu.map(unplaced),
            routes: link.routes.iter().cloned().map(unplaced).collect(),
        }
    }
}
