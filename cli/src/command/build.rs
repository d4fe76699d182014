//! `bedplate build`: a recipe becomes an image.

use std::path::PathBuf;

use serde::Serialize;

use crate::exit::Error;
use crate::machine::Consent;
use crate::output::{self, Cell, Output};
use crate::programs;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// Build an image from a recipe and its lock.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The recipe: a file, or the name of one in recipes/.
    recipe: String,
    /// Folder for the artifacts.
    #[arg(short, long, default_value = "out")]
    output: PathBuf,
    /// Make this format instead of the recipe's (raw, qcow2, uki, pxe); may be repeated.
    #[arg(long = "format", value_name = "FORMAT", value_parser = format)]
    formats: Vec<image::Format>,
    /// Build from this lock instead of the one beside the recipe.
    #[arg(long)]
    lock: Option<PathBuf>,
    /// Take nothing but .debs and compiled programs from caches.
    #[arg(long)]
    no_cache: bool,
    /// Touch no network.
    #[arg(long)]
    offline: bool,
    /// Install what this machine lacks without asking.
    #[arg(long)]
    yes: bool,
}

fn format(name: &str) -> Result<image::Format, String> {
    name.parse::<image::Format>()
        .map_err(|error| error.to_string())
}

#[derive(Serialize)]
struct Report {
    id: String,
    version: String,
    root_hash: String,
    unchanged: bool,
    manifest: PathBuf,
    artifacts: Vec<ReportedArtifact>,
}

#[derive(Serialize)]
struct ReportedArtifact {
    format: String,
    path: PathBuf,
    bytes: u64,
    allocated_bytes: u64,
}

/// Builds.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let workspace = Workspace::find()?;
    let recipe = workspace.recipe(&args.recipe)?;
    let progress = Progress::new();
    let programs = programs::compile(&workspace, &progress, Consent::from_flag(args.yes))?;
    let request = image::BuildRequest {
        recipe,
        lock: args.lock.clone(),
        out: args.output.clone(),
        formats: args.formats.clone(),
        programs,
        no_cache: args.no_cache,
        offline: args.offline,
    };
    let report = Report::from(image::build(&request, &progress)?);
    if output.is_json() {
        return output.json(&report);
    }
    let rows: Vec<Vec<Cell>> = report
        .artifacts
        .iter()
        .map(|artifact| {
            vec![
                Cell::plain(&artifact.format),
                Cell::plain(output::bytes(artifact.bytes)),
                Cell::plain(output::bytes(artifact.allocated_bytes)),
                Cell::plain(artifact.path.display().to_string()),
            ]
        })
        .collect();
    output.table(&["FORMAT", "SIZE", "ON DISK", "FILE"], &rows);
    let state = if report.unchanged { ", unchanged" } else { "" };
    output.line(format!(
        "{} {}{state}, root hash {}",
        report.id, report.version, report.root_hash
    ));
    Ok(())
}

impl From<image::Build> for Report {
    fn from(build: image::Build) -> Self {
        let artifacts = build
            .artifacts
            .into_iter()
            .map(|artifact| ReportedArtifact {
                format: artifact.format.to_string(),
                allocated_bytes: allocated(&artifact.path),
                path: artifact.path,
                bytes: artifact.bytes,
            })
            .collect();
        Self {
            id: build.id,
            version: build.version,
            root_hash: build.root_hash,
            unchanged: build.unchanged,
            manifest: build.manifest,
            artifacts,
        }
    }
}

/// Bytes that a file takes on this disk, holes left out; of a folder, those of its files.
pub(crate) fn allocated(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    if !found.is_dir() {
        return found.blocks() * 512;
    }
    std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| allocated(&entry.path()))
        .sum()
}
