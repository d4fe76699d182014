//! `bedplate down`: stop a cluster, and remove it.

use std::time::Duration;

use crate::cluster_folder::ClusterFolder;
use crate::daemon::{Connection, Reply, Request};
use crate::exit::Error;
use crate::node::Which;
use crate::output::Output;

/// Stop all nodes in order; disks, keys and configs stay for the next `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Remove disks, keys and configs too.
    #[arg(long)]
    wipe: bool,
    /// Seconds until a node that does not stop loses its power.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    timeout: u64,
}

/// Stops, then wipes if asked.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let folder = ClusterFolder::of(&args.which.name)?;
    let name = folder.name();
    if !folder.exists() {
        return Err(Error::NotRunning(format!("there is no cluster {name}")));
    }
    let mut forced = Vec::new();
    let ran = match Connection::open(&folder)? {
        Some(mut connection) => {
            // Nodes that do not answer cost the daemon a few seconds before it hears this.
            let patience = Duration::from_secs(args.timeout.saturating_add(30));
            if let Reply::Down { forced: names } = connection.ask(
                &Request::Down {
                    seconds: args.timeout,
                },
                patience,
            )? {
                forced = names;
            }
            connection.wait_closed();
            true
        }
        None => {
            // A daemon that was killed took its machines with it; its files say so no longer.
            qemu_tests::process::reap(&folder.pid_file()).map_err(Error::failed)?;
            false
        }
    };
    for node in &forced {
        output.warn(&format!(
            "{node} did not stop within {} s and lost its power",
            args.timeout
        ));
    }
    if args.wipe {
        // An `up` that has just begun holds it before its daemon answers.
        let _lock = qemu_tests::cluster::lock(folder.path(), name).map_err(Error::failed)?;
        folder.wipe()?;
    }
    if output.is_json() {
        return output.json(&serde_json::json!({ "name": name, "was_running": ran, "forced": forced, "wiped": args.wipe }));
    }
    let state = if ran { "is down" } else { "was not running" };
    let wiped = if args.wipe {
        ", its folder is removed"
    } else {
        ""
    };
    output.line(format!("cluster {name} {state}{wiped}"));
    Ok(())
}
