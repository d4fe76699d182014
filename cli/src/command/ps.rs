//! `bedplate ps`: the units of the nodes.

use serde::Serialize;
use spec_api::Unit;

use crate::exit::{Context, Error};
use crate::node::{Running, Which};
use crate::output::{self, Cell, Output, Style};

/// List the units of one node, or of all.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node; all if not given.
    node: Option<String>,
    /// Show units that are inactive too.
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Serialize)]
struct NodeUnits {
    node: String,
    units: Vec<Unit>,
}

/// Asks the nodes.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let running = Running::find(&args.which)?;
    let nodes = match &args.node {
        Some(name) => vec![running.node(name)?],
        None => running.nodes().iter().collect(),
    };
    let mut report = Vec::new();
    for node in nodes {
        let mut units = running
            .client(node)?
            .units()
            .context(format!("{} does not tell its units", node.name))?;
        units.retain(|unit| args.all || unit.active != "inactive");
        report.push(NodeUnits {
            node: node.name.clone(),
            units,
        });
    }
    if output.is_json() {
        return output.json(&report);
    }
    let rows: Vec<Vec<Cell>> = report
        .iter()
        .flat_map(|node| node.units.iter().map(|unit| row(&node.node, unit)))
        .collect();
    output.table(
        &[
            "NODE", "UNIT", "ACTIVE", "SUB", "PID", "MEMORY", "RESTARTS", "REASON",
        ],
        &rows,
    );
    Ok(())
}

fn row(node: &str, unit: &Unit) -> Vec<Cell> {
    let style = match unit.active.as_str() {
        "active" => Style::Good,
        "failed" => Style::Bad,
        "inactive" => Style::Plain,
        _ => Style::Warn,
    };
    vec![
        Cell::plain(node),
        Cell::plain(&unit.name),
        Cell::styled(&unit.active, style),
        Cell::plain(&unit.sub),
        Cell::plain(unit.main_pid.map_or(String::new(), |pid| pid.to_string())),
        Cell::plain(unit.memory_bytes.map_or(String::new(), output::bytes)),
        Cell::plain(unit.restarts.to_string()),
        Cell::plain(unit.reason.clone().unwrap_or_default()),
    ]
}
