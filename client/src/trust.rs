//! The four separate roots of trust, and what a certificate says of its holder.
//!
//! Every end certificate carries one URI name, `bedplate://CLUSTER-ID/PURPOSE/NAME`. Who verifies a
//! certificate asks for the purpose and the cluster, not only for the root: an operator's certificate is
//! never valid at etcd, a node's server certificate is never an operator's.

use std::fmt;
use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

/// A root of trust. Each has its own key; none signs for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Root {
    /// Node API servers and operators.
    NodeApi,
    /// etcd's members towards each other.
    EtcdPeer,
    /// etcd's client port and its clients.
    EtcdClient,
    /// Masters towards joining nodes and towards each other.
    Cluster,
}

impl Root {
    /// All roots.
    pub const ALL: [Self; 4] = [
        Self::NodeApi,
        Self::EtcdPeer,
        Self::EtcdClient,
        Self::Cluster,
    ];

    /// Its name in file names and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NodeApi => "node-api",
            Self::EtcdPeer => "etcd-peer",
            Self::EtcdClient => "etcd-client",
            Self::Cluster => "cluster",
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A node's API server.
    Node,
    /// A person who may do everything, at node APIs only.
    Admin,
    /// A person who acts on what runs, at node APIs only.
    Operator,
    /// A person who looks, at node APIs only.
    Reader,
    /// An etcd member towards its peers.
    EtcdPeer,
    /// An etcd member's client port; also a client, because etcd's JSON gateway calls its own port.
    EtcdServer,
    /// A client of etcd.
    EtcdClient,
    /// A master's cluster endpoint, and a master calling another one.
    Master,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Self; 8] = [
        Self::Node,
        Self::Admin,
        Self::Operator,
        Self::Reader,
        Self::EtcdPeer,
        Self::EtcdServer,
        Self::EtcdClient,
        Self::Master,
    ];

    /// Its word in the URI name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Reader => "reader",
            Self::EtcdPeer => "etcd-peer",
            Self::EtcdServer => "etcd-server",
            Self::EtcdClient => "etcd-client",
            Self::Master => "master",
        }
    }

    /// The root under which it is valid.
    pub fn root(self) -> Root {
        match self {
            Self::Node | Self::Admin | Self::Operator | Self::Reader => Root::NodeApi,
            Self::EtcdPeer => Root::EtcdPeer,
            Self::EtcdServer | Self::EtcdClient => Root::EtcdClient,
            Self::Master => Root::Cluster,
        }
    }

    /// Whether the holder is a person.
    pub fn is_person(self) -> bool {
        matches!(self, Self::Admin | Self::Operator | Self::Reader)
    }

    /// Whether the holder may be a TLS server.
    pub fn serves(self) -> bool {
        matches!(
            self,
            Self::Node | Self::EtcdPeer | Self::EtcdServer | Self::Master
        )
    }

    /// Whether the holder may be a TLS client.
    pub fn calls(self) -> bool {
        !matches!(self, Self::Node)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who a certificate says its holder is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The cluster, 32 hex digits.
    pub cluster_id: String,
    /// What the certificate is for.
    pub purpose: Purpose,
    /// The node's hostname, or an operator's name.
    pub name: String,
}

/// A holder and where it is reached: what goes into a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub holder: Holder,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Why a certificate does not say who its holder is, or says the wrong one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not X.509.
    #[error("the certificate is not X.509: {0}")]
    NotX509(String),
    /// None, or more than one, of our URI names.
    #[error("the certificate has no single bedplate:// name")]
    NoHolder,
    /// Another cluster's.
    #[error("the certificate of {0} belongs to another cluster")]
    ForeignCluster(String),
    /// Not for this.
    #[error("the certificate of {name} is for {found}, not for {expected}")]
    WrongPurpose {
        /// Whose.
        name: String,
        /// What it is for.
        found: Purpose,
        /// What was needed.
        expected: String,
    },
    /// Another node's.
    #[error("the certificate is {found}'s, not {expected}'s")]
    WrongName {
        /// Whose.
        found: String,
        /// Whose was needed.
        expected: String,
    },
}

impl Holder {
    /// A holder by its parts.
    pub fn new(cluster_id: &str, purpose: Purpose, name: &str) -> Self {
        Self {
            cluster_id: cluster_id.to_owned(),
            purpose,
            name: name.to_owned(),
        }
    }

    /// The URI name.
    pub fn uri(&self) -> String {
        format!(
            "bedplate://{}/{}/{}",
            self.cluster_id, self.purpose, self.name
        )
    }

    /// Reads a URI name.
    pub fn from_uri(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix("bedplate://")?.split('/');
        let (cluster_id, purpose, name) = (parts.next()?, parts.next()?, parts.next()?);
        let purpose = Purpose::ALL
            .into_iter()
            .find(|known| known.as_str() == purpose)?;
        let plain = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        if parts.next().is_some() || !plain(cluster_id) || !plain(name) {
            return None;
        }
        Some(Self::new(cluster_id, purpose, name))
    }

    /// Reads the holder of an end certificate. The certificate is not verified here.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| Error::NotX509(error.to_string()))?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|error| Error::NotX509(error.to_string()))?;
        let names = names
            .map(|extension| extension.value.general_names.as_slice())
            .unwrap_or_default();
        let mut holders = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Self::from_uri(uri),
            _ => None,
        });
        match (holders.next(), holders.next()) {
            (Some(holder), None) => Ok(holder),
            _ => Err(Error::NoHolder),
        }
    }

    /// Checks that the holder is of this cluster and for one of these purposes.
    pub fn check(&self, cluster_id: &str, purposes: &[Purpose]) -> Result<(), Error> {
        if self.cluster_id != cluster_id {
            return Err(Error::ForeignCluster(self.name.clone()));
        }
        if !purposes.contains(&self.purpose) {
            let expected: Vec<&str> = purposes.iter().map(|purpose| purpose.as_str()).collect();
            let (name, expected) = (self.name.clone(), expected.join(" or "));
            return Err(Error::WrongPurpose {
                name,
                found: self.purpose,
                expected,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_read_back_from_its_uri() {
        let holder = Holder::new("00ff", Purpose::EtcdPeer, "dev-1");
        assert_eq!(holder.uri(), "bedplate://00ff/etcd-peer/dev-1");
        assert_eq!(Holder::from_uri(&holder.uri()), Some(holder));
    }

    #[test]
    fn other_uris_are_nobody() {
        for uri in [
            "https://00ff/node/dev-1",
            "bedplate://00ff/node",
            "bedplate://00ff/boss/dev-1",
            "bedplate://00ff/node/dev-1/more",
            "bedplate://00ff/node/",
            "bedplate:///node/dev-1",
            "bedplate://00ff/node/dev 1",
        ] {
            assert_eq!(Holder::from_uri(uri), None, "{uri}");
        }
    }

    #[test]
    fn a_node_is_no_client_and_an_operator_is_no_server() {
        assert!(!Purpose::Node.calls() && !Purpose::Admin.serves());
        assert!(
            Purpose::ALL
                .iter()
                .all(|purpose| purpose.calls() || purpose.serves())
        );
    }

    #[test]
    fn cluster_and_purpose_are_checked() {
        let holder = Holder::new("00ff", Purpose::Admin, "alice");
        assert!(holder.check("00ff", &[Purpose::Admin]).is_ok());
        assert!(
            holder
                .check("00fe", &[Purpose::Admin])
                .unwrap_err()
                .to_string()
                .contains("another cluster")
        );
        let wrong = holder
            .check("00ff", &[Purpose::EtcdClient, Purpose::EtcdPeer])
            .unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "the certificate of alice is for admin, not for etcd-client or etcd-peer"
        );
    }
}
