//! `bedplate config rollback`: a config from a node's history again.

use spec_api::ConfigRollback;

use super::When;
use crate::exit::{Context, Error};
use crate::node::{Running, Which};
use crate::output::Output;

/// Apply a machine config from a node's history again
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node.
    node: String,
    /// Number in `config history`; the one that was in force before if not given.
    number: Option<u64>,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    which: Which,
}

/// Asks the node.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let running = Running::find(&args.which)?;
    let node = running.node(&args.node)?;
    let mode = args.when.mode();
    let number = args.number;
    let change = running
        .client(node)?
        .roll_back_config(&ConfigRollback { number, mode })
        .context(format!("{} does not go back", node.name))?;
    super::tell(&node.name, mode, &change, output)
}
