//! Talking to the nodes of a running cluster, as its operator.

use std::path::Path;

use client::node::Target;
use client::node::blocking::NodeClient;

use crate::cluster_folder::ClusterFolder;
use crate::daemon::{Connection, Description, NodeDescription};
use crate::exit::{Context, Error};

/// Which cluster.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Which {
    /// Name of the cluster.
    #[arg(long, default_value = "dev", value_name = "CLUSTER")]
    pub(crate) name: String,
}

/// A running cluster, as the daemon describes it.
pub(crate) struct Running {
    folder: ClusterFolder,
    description: Description,
}

impl Running {
    /// The cluster with this name, which must run.
    pub(crate) fn find(which: &Which) -> Result<Self, Error> {
        Self::of(ClusterFolder::of(&which.name)?)
    }

    /// That below another data folder than the user's.
    pub(crate) fn find_in(data: &Path, which: &Which) -> Result<Self, Error> {
        Self::of(ClusterFolder::below(data, &which.name)?)
    }

    fn of(folder: ClusterFolder) -> Result<Self, Error> {
        let description = Connection::require(&folder)?.describe()?;
        Ok(Self {
            folder,
            description,
        })
    }

    /// Its nodes.
    pub(crate) fn nodes(&self) -> &[NodeDescription] {
        &self.description.nodes
    }

    /// One node: by name, or by its number in the cluster.
    pub(crate) fn node(&self, name: &str) -> Result<&NodeDescription, Error> {
        let full = format!("{}-{name}", self.description.name);
        self.nodes()
            .iter()
            .find(|node| node.name == name || node.name == full)
            .ok_or_else(|| {
                let names: Vec<&str> = self.nodes().iter().map(|node| node.name.as_str()).collect();
                Error::Usage(format!(
                    "cluster {} has no node \"{}\"; it has {}",
                    self.description.name,
                    name.escape_debug(),
                    names.join(", ")
                ))
            })
    }

    /// A client of a node's API.
    pub(crate) fn client(&self, node: &NodeDescription) -> Result<NodeClient, Error> {
        let target: Target = qemu_tests::cluster::target(self.folder.path(), &node.name, node.api)
            .map_err(Error::failed)?;
        NodeClient::new(&target).context(format!("cannot make a client of {}", node.name))
    }
}

/// A unit's full name: a bare one means a service.
pub(crate) fn unit_name(name: &str) -> String {
    const SUFFIXES: [&str; 11] = [
        ".service",
        ".target",
        ".socket",
        ".timer",
        ".path",
        ".mount",
        ".automount",
        ".swap",
        ".slice",
        ".scope",
        ".device",
    ];
    if SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_unit_name_is_a_service() {
        assert_eq!(unit_name("etcd"), "etcd.service");
        assert_eq!(unit_name("multi-user.target"), "multi-user.target");
        assert_eq!(unit_name("getty@tty1"), "getty@tty1.service");
    }
}
