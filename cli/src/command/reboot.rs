//! `bedplate reboot`: reboot a node in order.

use crate::exit::{Context, Error};
use crate::node::{Running, Which};
use crate::output::Output;

/// Reboot a node in order: services stop, file systems are unmounted.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node.
    node: String,
    #[command(flatten)]
    which: Which,
}

/// Asks the node.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let running = Running::find(&args.which)?;
    let node = running.node(&args.node)?;
    running
        .client(node)?
        .reboot()
        .context(format!("{} does not reboot", node.name))?;
    if output.is_json() {
        return output.json(&serde_json::json!({ "node": node.name, "rebooting": true }));
    }
    output.line(format!("{} reboots", node.name));
    Ok(())
}
