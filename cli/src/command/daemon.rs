//! `bedplate daemon`: what `up` starts. Not for people: its first connection is its standard input.

use std::path::PathBuf;

use qemu_tests::ClusterSpec;
use qemu_tests::cluster::BootWay;
use qemu_tests::images::Image;

use crate::cluster_folder::ClusterFolder;
use crate::daemon::{self, Plan};
use crate::exit::Error;
use crate::node::Which;

/// Own the machines of a cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    size: Size,
    /// The recipe's name.
    #[arg(long)]
    recipe: String,
    /// Folder that the image was built into.
    #[arg(long)]
    image: PathBuf,
    /// Root hash of that build.
    #[arg(long)]
    root_hash: String,
}

/// How large a cluster is; `up` takes it from the person and hands it on.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Size {
    /// Number of nodes: the first three are masters (of fewer than three, the first), the rest agents.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) nodes: u32,
    /// Memory of a node in MiB.
    #[arg(long, default_value_t = 512, value_name = "MIB", value_parser = clap::value_parser!(u32).range(256..=65536))]
    pub(crate) memory: u32,
    /// Virtual processors of a node.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: u32,
    /// Boot the kernel directly instead of by UEFI from the disk: faster, and less of what a server does.
    #[arg(long)]
    pub(crate) direct: bool,
}

impl Size {
    /// Masters and agents.
    pub(crate) fn split(&self) -> (u32, u32) {
        // Two masters stand still when either fails, so two nodes are one master and one agent.
        let masters = if self.nodes < 3 { 1 } else { 3 };
        (masters, self.nodes - masters)
    }

    /// As arguments of the daemon.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--nodes={}", self.nodes),
            format!("--memory={}", self.memory),
            format!("--cpus={}", self.cpus),
        ];
        if self.direct {
            arguments.push("--direct".into());
        }
        arguments
    }
}

/// Serves until the cluster is taken down.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let folder = ClusterFolder::of(&args.which.name)?;
    let image = Image::find(&args.image)
        .map_err(Error::failed)?
        .ok_or_else(|| Error::Failed(format!("there is no image in {}", args.image.display())))?;
    let mut spec = ClusterSpec::new(folder.name(), folder.path(), image);
    (spec.masters, spec.agents) = args.size.split();
    spec.memory_mib = args.size.memory;
    spec.cpus = args.size.cpus;
    if args.size.direct {
        spec.boot = BootWay::Direct;
    }
    daemon::run(Plan {
        folder,
        recipe: args.recipe.clone(),
        root_hash: args.root_hash.clone(),
        spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(nodes: u32) -> Size {
        Size {
            nodes,
            memory: 512,
            cpus: 1,
            direct: false,
        }
    }

    #[test]
    fn a_quorum_is_never_of_two() {
        assert_eq!(size(1).split(), (1, 0));
        assert_eq!(size(2).split(), (1, 1));
        assert_eq!(size(3).split(), (3, 0));
        assert_eq!(size(7).split(), (3, 4));
    }
}
