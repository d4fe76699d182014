//! `bedplate doctor`: what this machine lacks, and its installation.

use serde::Serialize;

use crate::exit::Error;
use crate::machine::{self, Area, Consent};
use crate::output::{Cell, Output, Style};
use crate::workspace::Workspace;

/// Say what this machine lacks, and install it.
///
/// Packages come from apt, the Rust target from rustup. What will be run is shown first and asked for; it is
/// not asked for with --yes or where CI=true.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install what is missing.
    #[arg(long)]
    install: bool,
    /// Do not ask.
    #[arg(long, requires = "install")]
    yes: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    area: Area,
    why: &'a str,
    source: String,
    present: bool,
}

/// Looks, says, installs.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let areas = [Area::Build, Area::Run, Area::Test];
    let workspace = Workspace::find()?;
    if args.install {
        machine::ensure(&areas, &workspace, Consent::from_flag(args.yes))?;
    }
    let findings = machine::findings(&areas, &workspace);
    let report: Vec<Report<'_>> = findings
        .iter()
        .map(|finding| Report {
            name: finding.need.name(),
            area: finding.need.area(),
            why: finding.need.why(),
            source: finding.need.source(),
            present: finding.present,
        })
        .collect();
    if output.is_json() {
        output.json(&report)?;
    }
    let rows: Vec<Vec<Cell>> = report
        .iter()
        .map(|line| {
            let state = if line.present {
                ("ok", Style::Good)
            } else {
                ("missing", Style::Bad)
            };
            vec![
                Cell::styled(state.0, state.1),
                Cell::plain(line.name),
                Cell::plain(line.why),
                Cell::plain(&line.source),
            ]
        })
        .collect();
    output.table(&["STATE", "WHAT", "FOR", "FROM"], &rows);
    let missing = report.iter().filter(|line| !line.present).count();
    if missing == 0 {
        return Ok(());
    }
    Err(Error::Missing(format!(
        "{missing} things are missing; `cargo bedplate doctor --install` installs them"
    )))
}
