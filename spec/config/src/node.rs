//! [`NodeConfig`]: the part of a machine config that the node API's process needs, so that it never sees etcd's keys.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::value::{ClusterId, Hostname, Pem, Role};
use crate::{Config, Issuer, Master};

/// As JSON at `spec_layout::path::NODE_CONFIG`, which only that process may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This node.
    pub hostname: Hostname,
    /// What it does.
    pub roles: Vec<Role>,
    /// Its addresses as far as the config knows them.
    pub addresses: Vec<IpAddr>,
    /// All masters.
    pub masters: Vec<Master>,
    /// What it shows when it asks a master for a certificate.
    pub join_token: Secret,
    /// Roots `node-api`.
    pub node_api_roots: Vec<Pem>,
    /// Roots `cluster`: whom it joins at.
    pub cluster_roots: Vec<Pem>,
    /// The intermediate under `node-api`, on masters.
    pub issuer: Option<Issuer>,
}

impl NodeConfig {
    /// The part of this config.
    pub fn of(config: &Config) -> Self {
        let links = config
            .network
            .links
            .iter()
            .flat_map(|link| &link.addresses)
            .map(|address| address.ip);
        let mut addresses: Vec<IpAddr> = config
            .own_master()
            .map(|master| master.address)
            .into_iter()
            .collect();
        addresses.extend(links.filter(|ip| {
            config
                .own_master()
                .is_none_or(|master| master.address != *ip)
        }));
        Self {
            cluster_id: config.cluster.id.clone(),
            hostname: config.node.hostname.clone(),
            roles: config.node.roles.clone(),
            addresses,
            masters: config.cluster.masters.clone(),
            join_token: config.cluster.join_token.clone(),
            node_api_roots: config.trust.node_api.roots.clone(),
            cluster_roots: config.trust.cluster.roots.clone(),
            issuer: config
                .trust
                .issuers
                .as_ref()
                .map(|issuers| issuers.node_api.clone()),
        }
    }

    /// Whether this node has the role.
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}
