//! `bedplate config confirm`: the config on trial stays.

use crate::exit::{Context, Error};
use crate::node::{Running, Which};
use crate::output::Output;

/// Keep the machine config that a node tries
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node.
    node: String,
    /// Number of the config, as `config apply` told it; the one on trial if not given.
    number: Option<u64>,
    #[command(flatten)]
    which: Which,
}

/// Asks the node.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let running = Running::find(&args.which)?;
    let node = running.node(&args.node)?;
    let client = running.client(node)?;
    let number = match args.number {
        Some(number) => number,
        None => {
            let view = client
                .config()
                .context(format!("{} does not tell its config", node.name))?;
            let trial = view
                .trial
                .ok_or_else(|| Error::Failed(format!("{} has no config on trial", node.name)))?;
            trial.number
        }
    };
    client
        .confirm_config(number)
        .context(format!("{} does not keep config {number}", node.name))?;
    if output.is_json() {
        return output.json(&serde_json::json!({ "node": node.name, "number": number }));
    }
    output.line(format!("{}: config {number} is in force", node.name));
    Ok(())
}
