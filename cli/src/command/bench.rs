//! `bedplate bench`: measures what README claims, and prints its table.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Serialize;
use spec_api::LogQuery;

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
    /// The recipe.
    #[arg(long, default_value = "node-cloud")]
    recipe: String,
    /// Repetitions of which the median is told.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Seconds between a cluster's start and the look at its memory.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    settle: u64,
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
        figures.extend(bench.mkosi()?);
    }
    if wanted(Part::Boot) {
        figures.extend(bench.boots()?);
    }
    if wanted(Part::Up) || wanted(Part::Memory) {
        figures.extend(bench.clusters(wanted(Part::Memory))?);
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

    fn build(&self, out: &str, flags: &[&str]) -> Command {
        let mut command = self.bedplate(&["build"]);
        command
            .arg(&self.recipe)
            .arg("--output")
            .arg(self.scratch.join(out))
            .args(flags);
        command
    }

    fn repeated(&self, mut measure: impl FnMut() -> Result<Cost, Error>) -> Result<Cost, Error> {
        let costs: Result<Vec<Cost>, Error> = (0..self.args.runs).map(|_| measure()).collect();
        costs.map(|costs| measure::median_cost(&costs))
    }

    fn builds(&self) -> Result<Vec<Figure>, Error> {
        let mut figures = Vec::new();
        note("build, cold: empty cache, everything downloaded");
        let cold = measure::run(
            self.build("cold", &[])
                .env("XDG_CACHE_HOME", self.scratch.join("cache")),
        )?;
        figures.extend(cost(
            "build, cold",
            cold,
            "once, empty cache, downloads included",
        ));
        let _ = std::fs::remove_dir_all(self.scratch.join("cache"));
        note("build, warm: --no-cache");
        measure::run(&mut self.build("warm", &[]))?;
        let warm = self.repeated(|| measure::run(&mut self.build("warm", &["--no-cache"])))?;
        figures.extend(cost(
            "build, warm",
            warm,
            "`--no-cache`: packages in the cache, nothing else",
        ));
        note("build, unchanged");
        measure::run(&mut self.build("warm", &[]))?;
        let unchanged = self.repeated(|| measure::run(&mut self.build("warm", &[])))?;
        figures.push(Figure::new(
            "build, unchanged, wall",
            unchanged.wall_seconds,
            "s",
            "nothing changed",
        ));
        figures.extend(self.sizes(&self.scratch.join("warm"))?);
        Ok(figures)
    }

    fn sizes(&self, folder: &Path) -> Result<Vec<Figure>, Error> {
        let mut figures = Vec::new();
        let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
            .context(format!("cannot read {}", folder.display()))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end != "json") && path.is_file())
            .collect();
        names.sort();
        for path in names {
            let bytes = super::build::allocated(&path) as f64;
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            figures.push(Figure::new(
                format!("size of {name}"),
                bytes,
                "bytes",
                "allocated on disk",
            ));
        }
        Ok(figures)
    }

    fn mkosi(&self) -> Result<Vec<Figure>, Error> {
        if machine::find_program("mkosi").is_none() {
            note("mkosi is not installed: nothing to compare with");
            return Ok(Vec::new());
        }
        let out = self.scratch.join("mkosi");
        std::fs::create_dir_all(&out).context("cannot make a folder")?;
        let mut figures = Vec::new();
        for (name, again) in [("mkosi, cold", false), ("mkosi, warm", true)] {
            note(name);
            let mut command = Command::new("mkosi");
            command.args([
                "--force",
                "--distribution=debian",
                "--release=trixie",
                "--format=disk",
                "--bootable=yes",
                "--package=linux-image-cloud-amd64,systemd,systemd-boot,udev,etcd-server,ca-certificates,e2fsprogs",
            ]);
            command
                .arg("--directory")
                .arg(&out)
                .arg("--output-directory")
                .arg(&out)
                .arg("build");
            let found = if again {
                self.repeated(|| measure::run(&mut command))?
            } else {
                measure::run(&mut command)?
            };
            figures.extend(cost(name, found, "a comparable image of the same packages"));
        }
        Ok(figures)
    }

    fn up(&self, flags: &[&str]) -> Command {
        let mut command = self.bedplate(&["up", "--name", CLUSTER, "--recipe", &self.args.recipe]);
        command.args(flags);
        command
    }

    fn down(&self) -> Result<(), Error> {
        measure::run(&mut self.bedplate(&["down", "--wipe", "--name", CLUSTER])).map(drop)
    }

    /// One node by direct kernel boot, from the kernel's hand-over to etcd started, on the node's own clock.
    fn boots(&self) -> Result<Vec<Figure>, Error> {
        let (mut to_etcd, mut to_ready) = (Vec::new(), Vec::new());
        for run in 1..=self.args.runs {
            note(&format!("direct boot, run {run}"));
            measure::run(&mut self.up(&["--nodes=1", "--direct"]))?;
            let moments = self.moments()?;
            to_etcd.push(moments.etcd - moments.handoff);
            to_ready.push(moments.complete - moments.handoff);
            self.down()?;
        }
        let how = "one node by direct kernel boot, on the node's clock";
        Ok(vec![
            Figure::new(
                "handoff to etcd started",
                measure::median(&to_etcd),
                "s",
                how,
            ),
            Figure::new(
                "handoff to boot complete",
                measure::median(&to_ready),
                "s",
                how,
            ),
        ])
    }

    /// Reads the moments of a boot from the journal of the only node.
    fn moments(&self) -> Result<Moments, Error> {
        let running = self.running()?;
        let node = running
            .nodes()
            .first()
            .ok_or_else(|| Error::Failed("the cluster has no node".into()))?;
        let mut found = Moments {
            handoff: f64::NAN,
            etcd: f64::NAN,
            complete: f64::NAN,
        };
        running
            .client(node)?
            .logs(&LogQuery::default(), |entry| {
                let seconds = entry.monotonic_us as f64 / 1e6;
                let from_init = entry.identifier == "bedplate-init";
                for (hit, moment) in [
                    (
                        entry.message == "Run /init as init process",
                        &mut found.handoff,
                    ),
                    (
                        from_init && entry.message == "etcd.service started",
                        &mut found.etcd,
                    ),
                    (
                        from_init && entry.message == "reached boot-complete.target",
                        &mut found.complete,
                    ),
                ] {
                    // The first of each counts.
                    if hit && moment.is_nan() {
                        *moment = seconds;
                    }
                }
                true
            })
            .context(format!("{} does not give its journal", node.name))?;
        if found.handoff.is_nan() || found.etcd.is_nan() || found.complete.is_nan() {
            return Err(Error::Failed(format!(
                "the journal of {} does not tell the boot: {found:?}",
                node.name
            )));
        }
        Ok(found)
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

    /// Memory of PID 1 and of each unit on the first node.
    fn memory(&self) -> Result<Vec<Figure>, Error> {
        let running = self.running()?;
        let node = running
            .nodes()
            .first()
            .ok_or_else(|| Error::Failed("the cluster has no node".into()))?;
        let text = running
            .client(node)?
            .metrics()
            .context(format!("{} does not give its metrics", node.name))?;
        let settle = self.args.settle;
        Ok(residents(&text)
            .into_iter()
            .map(|(unit, bytes)| {
                Figure::new(
                    format!("memory of {unit}"),
                    bytes,
                    "bytes",
                    format!("resident, after {settle} s"),
                )
            })
            .collect())
    }

    fn clusters(&self, memory: bool) -> Result<Vec<Figure>, Error> {
        let mut walls = Vec::new();
        for run in 1..=self.args.runs {
            note(&format!("up, run {run}"));
            // The first of all builds the image; what is measured starts from a built one.
            if run == 1 {
                measure::run(&mut self.up(&[]))?;
                self.down()?;
            }
            walls.push(measure::run(&mut self.up(&[]))?.wall_seconds);
            if run < self.args.runs {
                self.down()?;
            }
        }
        let mut figures = vec![Figure::new(
            "`up`, three nodes ready by UEFI",
            measure::median(&walls),
            "s",
            "from a built image",
        )];
        if memory {
            note(&format!("memory: {} s to settle", self.args.settle));
            std::thread::sleep(Duration::from_secs(self.args.settle));
            figures.extend(self.memory()?);
        }
        self.down()?;
        Ok(figures)
    }
}

/// When what happened, in seconds of the node's clock.
#[derive(Debug)]
struct Moments {
    handoff: f64,
    etcd: f64,
    complete: f64,
}

/// Resident bytes by unit, from the node's metrics.
fn residents(metrics: &str) -> Vec<(String, f64)> {
    metrics
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("bedplate_process_resident_bytes{unit=\"")?;
            let (unit, value) = rest.split_once("\"} ")?;
            let name = if unit == "init.scope" { "PID 1" } else { unit };
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// The three figures of a cost.
fn cost(what: &str, cost: Cost, how: &str) -> [Figure; 3] {
    [
        Figure::new(format!("{what}, wall"), cost.wall_seconds, "s", how),
        Figure::new(format!("{what}, CPU"), cost.cpu_seconds, "s", how),
        Figure::new(
            format!("{what}, peak memory"),
            cost.peak_bytes as f64,
            "bytes",
            "its largest process",
        ),
    ]
}

fn note(text: &str) {
    eprintln!("bench: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_metrics() {
        let text = "# TYPE bedplate_process_resident_bytes gauge\n\
                    bedplate_process_resident_bytes{unit=\"init.scope\"} 2097152\n\
                    bedplate_process_resident_bytes{unit=\"etcd.service\"} 4\nother 1\n";
        assert_eq!(
            residents(text),
            [
                ("PID 1".to_owned(), 2_097_152.0),
                ("etcd.service".to_owned(), 4.0)
            ]
        );
    }

    #[test]
    fn a_figure_is_shown_in_its_unit() {
        assert_eq!(Figure::new("a", 1.26, "s", "").shown(), "1.26 s");
        assert_eq!(
            Figure::new("a", 1_048_576.0, "bytes", "").shown(),
            "1.0 MiB"
        );
    }
}
