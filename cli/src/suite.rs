//! The test programs of the workspace: compiled by cargo once, run by us one after the other.
//!
//! cargo compiles every test target in one call, so features unify once. Programs of Rust's own test harness
//! tell each test on a line; those of `qemu-tests` have a runner of their own and write a result file.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use qemu_tests::runner::Record;
use serde::Deserialize;

use crate::exit::{Context, Error};
use crate::workspace::Workspace;

/// The package whose test targets run machines.
const MACHINES: &str = "qemu-tests";

/// A compiled test target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Package and target, `image::lib` or `cli::arrows`; the area alone for tests with machines.
    pub(crate) name: String,
    /// It runs machines.
    pub(crate) machines: bool,
    executable: PathBuf,
    folder: PathBuf,
}

/// One line of cargo's `--message-format=json`, as far as it matters.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    profile: Option<Profile>,
    target: Option<Target>,
    package_id: Option<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Compiles all test targets.
pub(crate) fn compile(workspace: &Workspace) -> Result<Vec<Program>, Error> {
    let output = Command::new("cargo")
        .args([
            "test",
            "--workspace",
            "--locked",
            "--no-run",
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(workspace.root())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        return Err(Error::Failed(
            "the tests do not compile; cargo's messages stand above".into(),
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(program).collect())
}

fn program(line: &str) -> Option<Program> {
    let message: Message = serde_json::from_str(line).ok()?;
    let target = message.target?;
    if !message.profile?.test {
        return None;
    }
    let folder = message.manifest_path?.parent()?.to_path_buf();
    // `path+file:///x/init/pid1#0.1.0`, or `path+file:///x/image#image@0.1.0`.
    let id = message.package_id?;
    let after = id.rsplit('#').next()?;
    let package = match after.split_once('@') {
        Some((package, _)) => package.to_owned(),
        None => folder.file_name()?.to_str()?.to_owned(),
    };
    let is_test = target.kind.iter().any(|kind| kind == "test");
    let machines = is_test && package == MACHINES;
    let name = match (machines, is_test) {
        (true, _) => target.name,
        (_, true) => format!("{package}::{}", target.name),
        _ => package,
    };
    Some(Program {
        name,
        machines,
        executable: message.executable?,
        folder,
    })
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Totals {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed.
    pub(crate) failed: u64,
    /// Skipped, or ignored in the words of Rust's harness.
    pub(crate) skipped: u64,
}

impl Totals {
    /// Counts an outcome.
    pub(crate) fn count(&mut self, outcome: &str) {
        match outcome {
            "passed" => self.passed += 1,
            "skipped" => self.skipped += 1,
            _ => self.failed += 1,
        }
    }
}

/// The last line of `bedplate test`.
impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Runs a program of Rust's harness; a record for each of its tests.
pub(crate) fn run_units(
    program: &Program,
    commit: &str,
    say: &dyn Fn(&str),
) -> Result<Vec<Record>, Error> {
    let started = Instant::now();
    let asked = std::env::var("RUST_TEST_THREADS").ok();
    let mut command = Command::new(&program.executable);
    command
        .arg(format!("--test-threads={}", threads(asked.as_deref())))
        .current_dir(&program.folder)
        .env("CARGO_MANIFEST_DIR", &program.folder);
    let (lines, success) = watch(command, say)?;
    let mut records: Vec<Record> = outcomes(&lines)
        .into_iter()
        .map(|(test, (outcome, reason))| Record {
            commit: commit.to_owned(),
            test: format!("{}::{test}", program.name),
            outcome: outcome.to_owned(),
            reason: reason.to_owned(),
            seconds: 0.0,
        })
        .collect();
    if !success && !records.iter().any(|record| record.outcome == "failed") {
        records.push(Record {
            commit: commit.to_owned(),
            test: program.name.clone(),
            outcome: "failed".into(),
            reason: "the program ended without success".into(),
            seconds: started.elapsed().as_secs_f64(),
        });
    }
    Ok(records)
}

/// Threads for Rust's harness, as asked for or one a processor, but two at least: with a single one tests run in its main
/// thread, and one that says it was skipped cannot say which it is.
fn threads(asked: Option<&str>) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    asked
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(processors)
        .max(2)
}

/// Outcome and reason of each test. One that says itself that it was skipped has not passed, whatever the harness says.
fn outcomes(lines: &[String]) -> BTreeMap<&str, (&'static str, &str)> {
    let mut outcomes: BTreeMap<_, _> = lines
        .iter()
        .filter_map(|line| outcome(line))
        .map(|(test, outcome, reason)| (test, (outcome, reason)))
        .collect();
    let skipped = lines
        .iter()
        .filter_map(|line| line.strip_prefix("Skipped: ")?.split_once(": "));
    for (test, reason) in skipped {
        outcomes.insert(test, ("skipped", reason));
    }
    outcomes
}

/// `test a::b ... ok`, as Rust's harness prints it.
fn outcome(line: &str) -> Option<(&str, &'static str, &str)> {
    let (test, word) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let test = test.strip_suffix(" - should panic").unwrap_or(test);
    match word.split(',').next()? {
        "ok" => Some((test, "passed", "")),
        "FAILED" => Some((test, "failed", "its messages stand in the output")),
        "ignored" => Some((
            test,
            "skipped",
            word.split_once(", ")
                .map_or("ignored", |(_, reason)| reason),
        )),
        _ => None,
    }
}

/// How a program with machines is run.
#[derive(Debug)]
pub(crate) struct MachineRun<'a> {
    /// Its result file, JSON lines.
    pub(crate) results: &'a Path,
    /// What is tested.
    pub(crate) commit: &'a str,
    /// Tests up to this tier.
    pub(crate) tier: u8,
    /// Folder with one subfolder per recipe.
    pub(crate) images: &'a Path,
    /// Where machines keep their disks.
    pub(crate) scratch: &'a Path,
}

/// Runs a program of `qemu-tests`; false if it failed.
pub(crate) fn run_machines(
    workspace: &Workspace,
    program: &Program,
    run: &MachineRun<'_>,
    say: &dyn Fn(&str),
) -> Result<bool, Error> {
    let mut command = Command::new(&program.executable);
    command
        .current_dir(workspace.root())
        .args([
            "--tier",
            &run.tier.to_string(),
            "--commit",
            run.commit,
            "--results",
        ])
        .arg(run.results)
        .env(qemu_tests::images::IMAGES, run.images)
        .env("BEDPLATE_SCRATCH", run.scratch);
    watch(command, say).map(|(_, success)| success)
}

/// Runs a command, handing on each line it prints.
fn watch(mut command: Command, say: &dyn Fn(&str)) -> Result<(Vec<String>, bool), Error> {
    let what = format!("cannot run {}", command.get_program().display());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context(&what)?;
    let mut lines = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line.context(&what)?).into_owned();
            say(&line);
            lines.push(line);
        }
    }
    let status = child.wait().context(&what)?;
    Ok((lines, status.success()))
}

/// Records of a result file for a commit, the last of each test.
pub(crate) fn records(file: &Path, commit: &str) -> Vec<Record> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut last = BTreeMap::new();
    for record in text
        .lines()
        .filter_map(|line| serde_json::from_str::<Record>(line).ok())
    {
        if record.commit == commit {
            last.insert(record.test.clone(), record);
        }
    }
    last.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_rusts_harness_is_an_outcome() {
        assert_eq!(outcome("test a::b ... ok"), Some(("a::b", "passed", "")));
        assert_eq!(
            outcome("test a::b - should panic ... ok"),
            Some(("a::b", "passed", ""))
        );
        assert_eq!(
            outcome("test a ... FAILED").map(|found| found.1),
            Some("failed")
        );
        assert_eq!(
            outcome("test a ... ignored, needs root"),
            Some(("a", "skipped", "needs root"))
        );
        assert_eq!(outcome("test result: ok. 3 passed; 0 failed"), None);
        assert_eq!(outcome("running 3 tests"), None);
    }

    #[test]
    fn a_test_that_says_it_was_skipped_has_not_passed() {
        let lines = [
            "Skipped: a::b: no mirror: none",
            "test a::b ... ok",
            "test c ... ok",
        ]
        .map(str::to_owned);
        let found = outcomes(&lines);
        assert_eq!(found["a::b"], ("skipped", "no mirror: none"));
        assert_eq!(found["c"], ("passed", ""));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn each_test_has_a_thread_of_its_own_name() {
        for asked in [Some("1"), Some("0"), Some("some"), None] {
            assert!(threads(asked) >= 2, "{asked:?}");
        }
        assert_eq!(threads(Some("7")), 7);
        let name = std::env::current_exe().expect("this program");
        let ran = Command::new(name)
            .args(["--exact", "suite::tests::says_its_thread", "--nocapture"])
            .arg(format!("--test-threads={}", threads(Some("1"))))
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(said.contains("[suite::tests::says_its_thread]"), "{said}");
    }

    #[test]
    fn says_its_thread() {
        println!("[{}]", std::thread::current().name().unwrap_or_default());
    }

    #[test]
    fn cargos_message_names_the_program() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/qemu-tests#0.1.0",
            "manifest_path":"/w/qemu-tests/Cargo.toml","target":{"kind":["test"],"name":"boot"},
            "profile":{"test":true},"executable":"/t/debug/deps/boot-1"}"#
            .replace('\n', "");
        let found = program(&line).expect("a program");
        assert!(found.machines && found.name == "boot", "{found:?}");
        let line = line
            .replace("qemu-tests#0.1.0", "init/pid1#pid1@0.1.0")
            .replace("\"test\"]", "\"bin\"]");
        let found = program(&line).expect("a program");
        assert!(!found.machines && found.name == "pid1", "{found:?}");
        assert_eq!(
            program(&line.replace("\"test\":true", "\"test\":false")),
            None
        );
        assert_eq!(program("not json"), None);
    }

    #[test]
    fn the_last_word_on_a_test_counts() {
        let folder = tempfile::tempdir().expect("tempdir");
        let file = folder.path().join("results.jsonl");
        let line = |commit: &str, outcome: &str| {
            format!(r#"{{"commit":"{commit}","test":"a::b","outcome":"{outcome}","seconds":1.0}}"#)
        };
        let text = [
            line("c1", "failed"),
            line("c1", "passed"),
            line("c2", "failed"),
            "cut sho".into(),
        ]
        .join("\n");
        std::fs::write(&file, text).expect("write");
        let found = records(&file, "c1");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].outcome, "passed");
        assert!(records(Path::new("/nonexistent"), "c1").is_empty());
    }

    #[test]
    fn totals_are_the_last_line() {
        let mut totals = Totals::default();
        for outcome in ["passed", "passed", "failed", "skipped"] {
            totals.count(outcome);
        }
        assert_eq!(totals.to_string(), "2 passed, 1 failed, 1 skipped");
    }
}
