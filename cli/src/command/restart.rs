//! `bedplate restart`: restart a unit of a node.

use crate::exit::{Context, Error};
use crate::node::{Running, Which, unit_name};
use crate::output::Output;

/// Restart a unit of a node.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node.
    node: String,
    /// The unit; a bare name means a service.
    unit: String,
    #[command(flatten)]
    which: Which,
}

/// Asks the node.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let running = Running::find(&args.which)?;
    let node = running.node(&args.node)?;
    let unit = unit_name(&args.unit);
    running
        .client(node)?
        .restart(&unit)
        .context(format!("{} does not restart {unit}", node.name))?;
    if output.is_json() {
        return output
            .json(&serde_json::json!({ "node": node.name, "unit": unit, "restarted": true }));
    }
    output.line(format!("{unit} restarts on {}", node.name));
    Ok(())
}
