//! `bedplate cache`: how large the builder's cache is, and pruning it.

use std::time::Duration;

use image::prune::{self, Part};
use serde::Serialize;

use crate::exit::Error;
use crate::output::{self, Cell, Output};

/// Say what the builder's cache holds, or remove what was not used for a while.
///
/// It holds downloaded packages and indexes, and what earlier builds worked out. All of it comes again when it is
/// needed, packages only as long as a mirror has them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove what was not used for so many days; what was used within the last hour always stays.
    #[arg(long, value_name = "DAYS", num_args = 0..=1, default_missing_value = "30")]
    prune: Option<u32>,
}

#[derive(Serialize)]
struct Row {
    part: &'static str,
    files: u64,
    bytes: u64,
}

/// Counts, or removes and counts that.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let parts = match args.prune {
        Some(days) => prune::prune(Duration::from_secs(u64::from(days) * 24 * 60 * 60))?,
        None => prune::size()?,
    };
    if output.is_json() {
        let rows = parts.iter().map(|part| Row {
            part: part.name,
            files: part.files,
            bytes: part.bytes,
        });
        return output.json(&rows.collect::<Vec<_>>());
    }
    let rows: Vec<Vec<Cell>> = parts.iter().map(row).collect();
    let head = if args.prune.is_some() {
        "REMOVED"
    } else {
        "SIZE"
    };
    output.table(&["PART", "FILES", head], &rows);
    Ok(())
}

fn row(part: &Part) -> Vec<Cell> {
    vec![
        Cell::plain(part.name),
        Cell::plain(part.files.to_string()),
        Cell::plain(output::bytes(part.bytes)),
    ]
}
