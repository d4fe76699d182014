//! `bedplate test`: unit tests, then images, then the tests that run machines.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use qemu_tests::runner::Record;
use serde::Serialize;

use crate::exit::{Context, Error};
use crate::images::{self, Purpose};
use crate::machine::{self, Area, Consent};
use crate::output::{self, Output};
use crate::programs;
use crate::progress::Progress;
use crate::suite::{self, MachineRun, Program, Totals};
use crate::workspace::Workspace;

/// Recipes whose images the tests of tier 1 boot.
const TIER_1: [&str; 2] = ["base", "node-cloud"];
/// The area of everything that needs no machine.
const UNIT: &str = "unit";

/// Run the tests: tier 1, or everything with --all.
///
/// Tier 1 is all unit tests and the tests with machines that matter most. --all writes
/// target/test-results/COMMIT.json and, when run again for the same commit, repeats nothing that passed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Everything, or everything of an area: "unit", or a test target of qemu-tests.
    #[arg(long, value_name = "AREA", num_args = 0..=1, default_missing_value = "")]
    all: Option<String>,
    /// Install what this machine lacks without asking.
    #[arg(long)]
    yes: bool,
}

/// The result file.
#[derive(Serialize)]
struct Report<'a> {
    commit: &'a str,
    tier: u8,
    #[serde(flatten)]
    totals: Totals,
    seconds: f64,
    tests: &'a [Record],
}

/// Runs them; fails if one failed.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let started = Instant::now();
    let workspace = Workspace::find()?;
    let consent = Consent::from_flag(args.yes);
    machine::ensure(&[Area::Build, Area::Run, Area::Test], &workspace, consent)?;
    let (tier, area) = match &args.all {
        None => (1, None),
        Some(area) => (2, Some(area.as_str()).filter(|area| !area.is_empty())),
    };
    let run = Run::new(workspace, tier, area, *output)?;
    let records = run.all(consent)?;
    let mut totals = Totals::default();
    records
        .iter()
        .for_each(|record| totals.count(&record.outcome));
    let report = Report {
        commit: &run.commit,
        tier,
        totals,
        seconds: started.elapsed().as_secs_f64(),
        tests: &records,
    };
    if tier == 2 {
        run.write(&report)?;
    }
    run.summary(&report)?;
    if totals.failed > 0 {
        return Err(Error::Failed(format!("{} tests failed", totals.failed)));
    }
    Ok(())
}

struct Run<'a> {
    workspace: Workspace,
    tier: u8,
    area: Option<&'a str>,
    commit: String,
    results: PathBuf,
    output: Output,
}

impl<'a> Run<'a> {
    fn new(
        workspace: Workspace,
        tier: u8,
        area: Option<&'a str>,
        output: Output,
    ) -> Result<Self, Error> {
        let commit = commit(workspace.root());
        let folder = workspace.target().join("test-results");
        std::fs::create_dir_all(&folder).context(format!("cannot make {}", folder.display()))?;
        let results = folder.join(if tier == 1 {
            "tier-1.jsonl".into()
        } else {
            format!("{commit}.jsonl")
        });
        if tier == 1 {
            // Tier 1 is always run whole.
            let _ = std::fs::remove_file(&results);
        }
        Ok(Self {
            workspace,
            tier,
            area,
            commit,
            results,
            output,
        })
    }

    fn say(&self, line: &str) {
        if self.output.is_json() {
            self.output.note(line);
        } else {
            output::print(&format!("{line}\n"));
        }
    }

    fn wants(&self, area: &str) -> bool {
        self.area.is_none_or(|wanted| wanted == area)
    }

    fn all(&self, consent: Consent) -> Result<Vec<Record>, Error> {
        self.say("== compile the tests");
        let programs = suite::compile(&self.workspace)?;
        let (machines, units): (Vec<Program>, Vec<Program>) =
            programs.into_iter().partition(|program| program.machines);
        let machines: Vec<Program> = machines
            .into_iter()
            .filter(|program| self.wants(&program.name))
            .collect();
        if machines.is_empty() && !self.wants(UNIT) {
            let area = self.area.unwrap_or_default();
            return Err(Error::Usage(format!(
                "there is no area \"{}\"",
                area.escape_debug()
            )));
        }
        let mut records = Vec::new();
        if self.wants(UNIT) {
            self.say("== unit tests");
            for program in &units {
                let found = suite::run_units(program, &self.commit, &|line| self.say_unit(line))?;
                let mut totals = Totals::default();
                found
                    .iter()
                    .for_each(|record| totals.count(&record.outcome));
                if totals != Totals::default() {
                    self.say(&format!("{}: {totals}", program.name));
                }
                records.extend(found);
            }
        }
        if !machines.is_empty() {
            records.extend(self.build_images(consent)?);
            records.extend(self.machines(&machines)?);
        }
        Ok(records)
    }

    /// Of Rust's harness only what is wrong is news.
    fn say_unit(&self, line: &str) {
        let boring = line.is_empty()
            || line.ends_with(" ... ok")
            || line.starts_with("running ")
            || line.starts_with("test result: ok.");
        if !boring {
            self.say(line);
        }
    }

    /// An image that cannot be built is a failed test, and its tests are skipped for want of it.
    fn build_images(&self, consent: Consent) -> Result<Vec<Record>, Error> {
        self.say("== images");
        let progress = Progress::new();
        let programs = programs::compile(&self.workspace, &progress, consent)?;
        let recipes = if self.tier == 1 {
            TIER_1.map(str::to_owned).to_vec()
        } else {
            self.workspace.recipes()
        };
        let mut records = Vec::new();
        for recipe in recipes {
            let started = Instant::now();
            let path = self.workspace.recipe(&recipe)?;
            let built = images::build(&self.workspace, &path, Purpose::Test, &programs, &progress);
            let seconds = started.elapsed().as_secs_f64();
            let (outcome, reason) = match built {
                Ok(_) => ("passed", String::new()),
                Err(error) => ("failed", error.to_string()),
            };
            self.say(&format!(
                "image of {recipe}: {outcome} {seconds:.1} s {reason}"
            ));
            records.push(Record {
                commit: self.commit.clone(),
                test: format!("image::build_{recipe}"),
                outcome: outcome.into(),
                reason,
                seconds,
            });
        }
        Ok(records)
    }

    fn machines(&self, programs: &[Program]) -> Result<Vec<Record>, Error> {
        let scratch = self.workspace.target().join("test-scratch");
        std::fs::create_dir_all(&scratch).context(format!("cannot make {}", scratch.display()))?;
        let run = MachineRun {
            results: &self.results,
            commit: &self.commit,
            tier: self.tier,
            images: &Purpose::Test.folder(&self.workspace),
            scratch: &scratch,
        };
        let mut broken = Vec::new();
        for program in programs {
            self.say(&format!("== machines: {}", program.name));
            let passed =
                suite::run_machines(&self.workspace, program, &run, &|line| self.say(line))?;
            broken.push((program, passed));
        }
        let mut records = suite::records(&self.results, &self.commit);
        records.retain(|record| {
            programs
                .iter()
                .any(|program| record.test.starts_with(&format!("{}::", program.name)))
        });
        for (program, passed) in broken {
            let told = |record: &Record| {
                record.outcome == "failed"
                    && record.test.starts_with(&format!("{}::", program.name))
            };
            if !passed && !records.iter().any(told) {
                records.push(Record {
                    commit: self.commit.clone(),
                    test: program.name.clone(),
                    outcome: "failed".into(),
                    reason: "the program ended without success and told no failed test".into(),
                    seconds: 0.0,
                });
            }
        }
        Ok(records)
    }

    fn write(&self, report: &Report<'_>) -> Result<(), Error> {
        let file = self.results.with_extension("json");
        let text = serde_json::to_vec_pretty(report).map_err(Error::failed)?;
        std::fs::write(&file, text).context(format!("cannot write {}", file.display()))?;
        self.say(&format!("results: {}", file.display()));
        Ok(())
    }

    fn summary(&self, report: &Report<'_>) -> Result<(), Error> {
        for record in report
            .tests
            .iter()
            .filter(|record| record.outcome != "passed")
        {
            self.say(&format!(
                "{}  {}: {}",
                record.outcome, record.test, record.reason
            ));
        }
        self.say(&format!(
            "commit {}, {:.0} s",
            report.commit, report.seconds
        ));
        if self.output.is_json() {
            return self.output.json(report);
        }
        self.say(&report.totals.to_string());
        Ok(())
    }
}

/// The commit checked out, `-dirty` if files differ from it.
fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(root)
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".into());
    match git(&["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}-dirty"),
    }
}
