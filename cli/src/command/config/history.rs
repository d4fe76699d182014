//! `bedplate config history`: the configs that a node had.

use spec_api::ConfigOutcome;

use crate::exit::{Context, Error};
use crate::node::{Running, Which};
use crate::output::{Cell, Output, Style};

/// List the machine configs that a node had, newest first
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
    let entries = running
        .client(node)?
        .config_history()
        .context(format!("{} does not tell its history", node.name))?;
    if output.is_json() {
        return output.json(&entries);
    }
    let rows: Vec<Vec<Cell>> = entries
        .iter()
        .map(|entry| {
            let (word, style) = word(entry.outcome);
            vec![
                Cell::plain(entry.number.to_string()),
                Cell::plain(crate::output::time(entry.realtime_us)),
                Cell::styled(word, style),
                Cell::plain(&entry.by),
            ]
        })
        .collect();
    output.table(&["NUMBER", "CAME", "STATE", "BY"], &rows);
    Ok(())
}

fn word(outcome: ConfigOutcome) -> (&'static str, Style) {
    match outcome {
        ConfigOutcome::InForce => ("in force", Style::Good),
        ConfigOutcome::OnTrial => ("on trial", Style::Warn),
        ConfigOutcome::AtReboot => ("at reboot", Style::Warn),
        ConfigOutcome::Replaced => ("replaced", Style::Plain),
        ConfigOutcome::WentBack => ("went back", Style::Plain),
        ConfigOutcome::Dropped => ("dropped", Style::Plain),
        ConfigOutcome::Failed => ("failed", Style::Bad),
    }
}
