//! `bedplate status`: how the nodes and etcd are.

use std::time::Duration;

use crate::cluster_folder::ClusterFolder;
use crate::daemon::{Connection, Reply, Request};
use crate::exit::Error;
use crate::node::Which;
use crate::output::Output;
use crate::view;

/// Longer than the daemon waits for a node that does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Show how the nodes and etcd are.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
}

/// Asks the daemon, which asks every node.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let folder = ClusterFolder::of(&args.which.name)?;
    let mut connection = Connection::require(&folder)?;
    match connection.ask(&Request::Status, PATIENCE)? {
        Reply::Status(status) if output.is_json() => output.json(&status),
        Reply::Status(status) => {
            view::tables(&status, output);
            Ok(())
        }
        other => Err(Error::Failed(format!(
            "the daemon answered {other:?} to a question for the status"
        ))),
    }
}
