//! `bedplate lock`: resolves a recipe's packages and writes them down.

use std::path::PathBuf;

use serde::Serialize;

use crate::exit::Error;
use crate::output::{self, Output};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// Resolve the packages of recipes and write their locks.
///
/// The archive's signed metadata decides; versions, sizes and hashes go to recipes/NAME.lock with the user and
/// group numbers, which an existing lock keeps.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Recipes: files, or names of those in recipes/; all of recipes/ if not given.
    recipes: Vec<String>,
    /// Write the lock of the one recipe here instead of beside it.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Take metadata and packages from the cache only.
    #[arg(long)]
    offline: bool,
}

#[derive(Serialize)]
struct Report {
    recipe: String,
    lock: PathBuf,
    packages: usize,
    tools: usize,
    download_bytes: u64,
    changes: Vec<String>,
}

/// Locks.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let workspace = Workspace::find()?;
    let names = if args.recipes.is_empty() {
        workspace.recipes()
    } else {
        args.recipes.clone()
    };
    if args.output.is_some() && names.len() != 1 {
        return Err(Error::Usage(format!(
            "--output takes the lock of one recipe, not of {}",
            names.len()
        )));
    }
    let progress = Progress::new();
    let mut reports = Vec::new();
    for name in names {
        let recipe = workspace.recipe(&name)?;
        let request = image::LockRequest {
            recipe,
            output: args.output.clone(),
            offline: args.offline,
        };
        let outcome = image::lock(&request, &progress)?;
        let report = Report {
            recipe: name,
            packages: outcome.lock.packages.len(),
            tools: outcome.lock.tools.packages.len(),
            download_bytes: outcome
                .lock
                .packages
                .iter()
                .map(|package| package.size)
                .sum(),
            lock: outcome.path,
            changes: outcome.changes,
        };
        show(&report, output);
        reports.push(report);
    }
    if output.is_json() {
        output.json(&reports)
    } else {
        Ok(())
    }
}

fn show(report: &Report, output: &Output) {
    for change in &report.changes {
        output.line(format!("  {change}"));
    }
    let state = if report.changes.is_empty() {
        "unchanged, "
    } else {
        ""
    };
    output.line(format!(
        "{}: {state}{} packages, {}, {} tools, in {}",
        report.recipe,
        report.packages,
        output::bytes(report.download_bytes),
        report.tools,
        report.lock.display()
    ));
}
