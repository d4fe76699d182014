//! `bedplate bench`: measures what README claims, and prints its table.

mod boot;
mod build;
mod init;
mod memory;

use std::path::PathBuf;
use std::process::Command;

use serde::Serialize;

use crate::daemon::NodeDescription;
use crate::exit::{Context, Error};
use crate::machine::{self, Area, Consent};
use crate::measure::{self, Cost};
use crate::node::{Running, Which};
use crate::output::{self, Output};
use crate::programs;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The cluster that is measured.
const CLUSTER: &str = "bench";

/// Measure builds, sizes, boots and memory; print README's table.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure; everything if not given.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// The recipe; memory is always looked at in `debug`, which extends node-cloud.
    #[arg(long, default_value = "node-cloud")]
    recipe: String,
    /// Repetitions of which the median is told.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Seconds between a cluster's start and the look at its memory.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    settle: u64,
    /// How many services inits are measured with.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 500], value_parser = clap::value_parser!(u32).range(1..=1000))]
    services: Vec<u32>,
    /// Which inits; all if not given.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "INIT")]
    inits: Vec<init::Init>,
    /// Count too what each init's machine executes until all services are up, in one more run.
    #[arg(long)]
    instructions: bool,
    /// Install what this machine lacks without asking.
    #[arg(long)]
    yes: bool,
}

/// A part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Builds: cold, warm, unchanged, and mkosi's where it is installed.
    Build,
    /// Three nodes by UEFI, from a built image to ready.
    Up,
    /// One node by direct kernel boot: handoff to etcd started.
    Boot,
    /// Memory of PID 1 and of each service.
    Memory,
    /// Our PID 1 beside a floor in C, systemd, s6 and runit, with trivial services.
    Init,
}

/// A line of the table.
#[derive(Debug, Serialize)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    /// How it came about.
    note: String,
}

impl Figure {
    fn new(
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        note: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            note: note.into(),
        }
    }

    fn shown(&self) -> String {
        match self.unit {
            "bytes" => output::bytes(self.value as u64),
            unit => format!("{:.2} {unit}", self.value),
        }
    }
}

/// Measures and prints.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let bench = Bench::new(args)?;
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    let mut figures = Vec::new();
    if wanted(Part::Build) {
        figures.extend(bench.builds()?);
        figures.extend(bench.mkosi());
    }
    if wanted(Part::Boot) {
        figures.extend(bench.boots()?);
    }
    if wanted(Part::Up) {
        figures.extend(bench.clusters()?);
    }
    if wanted(Part::Memory) {
        figures.extend(bench.memory()?);
    }
    if wanted(Part::Init) {
        figures.extend(bench.inits()?);
    }
    if output.is_json() {
        return output.json(&figures);
    }
    output.line("| figure | value | how |\n|---|---|---|");
    for figure in &figures {
        output.line(format!(
            "| {} | {} | {} |",
            figure.what,
            figure.shown(),
            figure.note
        ));
    }
    Ok(())
}

struct Bench<'a> {
    args: &'a Args,
    workspace: Workspace,
    recipe: PathBuf,
    program: PathBuf,
    scratch: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(args: &'a Args) -> Result<Self, Error> {
        let workspace = Workspace::find()?;
        let consent = Consent::from_flag(args.yes);
        machine::ensure(&[Area::Build, Area::Run], &workspace, consent)?;
        // Compiling our programs is no part of an image build.
        programs::compile(&workspace, &Progress::new(), consent)?;
        let recipe = workspace.recipe(&args.recipe)?;
        let scratch = workspace.target().join("bench");
        let _ = std::fs::remove_dir_all(&scratch);
        std::fs::create_dir_all(&scratch).context(format!("cannot make {}", scratch.display()))?;
        let program = std::env::current_exe().context("cannot find this program")?;
        Ok(Self {
            args,
            workspace,
            recipe,
            program,
            scratch,
        })
    }

    fn bedplate(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(self.workspace.root())
            .args(arguments)
            .env("XDG_DATA_HOME", self.scratch.join("data"));
        command
    }

    fn repeated(&self, mut measure: impl FnMut() -> Result<Cost, Error>) -> Result<Cost, Error> {
        let costs: Result<Vec<Cost>, Error> = (0..self.args.runs).map(|_| measure()).collect();
        costs.map(|costs| measure::median_cost(&costs))
    }

    fn up(&self, recipe: &str, flags: &[&str]) -> Command {
        let mut command = self.bedplate(&["up", "--name", CLUSTER, "--recipe", recipe]);
        command.args(flags);
        command
    }

    fn down(&self) -> Result<(), Error> {
        measure::run(&mut self.bedplate(&["down", "--wipe", "--name", CLUSTER])).map(drop)
    }

    /// The cluster that is measured, which has a data folder of its own.
    fn running(&self) -> Result<Running, Error> {
        Running::find_in(
            &self.scratch.join("data"),
            &Which {
                name: CLUSTER.into(),
            },
        )
    }
}

/// The node that is looked at.
fn first(running: &Running) -> Result<&NodeDescription, Error> {
    running
        .nodes()
        .first()
        .ok_or_else(|| Error::Failed("the cluster has no node".into()))
}

fn note(text: &str) {
    eprintln!("bench: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_shown_in_its_unit() {
        assert_eq!(Figure::new("a", 1.26, "s", "").shown(), "1.26 s");
        assert_eq!(
            Figure::new("a", 1_048_576.0, "bytes", "").shown(),
            "1.0 MiB"
        );
    }
}
