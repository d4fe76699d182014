//! `bedplate config show`: the config in force on a node.

use crate::exit::{Context, Error};
use crate::node::{Running, Which};
use crate::output::Output;

/// Print the machine config in force on a node: defaults written out, secrets hidden
///
/// What is printed can be edited and applied: a hidden secret stays as it is.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node.
    node: String,
    #[command(flatten)]
    which: Which,
}

/// Asks the node.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let running = Running::find(&args.which)?;
    let node = running.node(&args.node)?;
    let view = running
        .client(node)?
        .config()
        .context(format!("{} does not tell its config", node.name))?;
    if output.is_json() {
        return output.json(&view);
    }
    let message = view.message.unwrap_or_default();
    if let Some(trial) = view.trial {
        output.note(&format!(
            "# config {} is on trial for {} s more",
            trial.number, trial.seconds_left
        ));
    }
    if let Some(number) = view.at_reboot {
        output.note(&format!(
            "# config {number} comes into force with the next boot"
        ));
    }
    match view.document {
        Some(document) => output.line(document),
        None => output.line(format!("{}: {message}", view.config)),
    }
    Ok(())
}
