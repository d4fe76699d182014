//! Runs the tests of one area, for test targets with `harness = false`.
//!
//! Each test runs in a process of its own: one that hangs is killed at its deadline and its machines die
//! with it, one that panics fails alone. A test passes, fails, or is skipped with a reason; a test named
//! in `.ci/required` may not be skipped where `CI` is `true`. Results go to a file of JSON lines with the
//! commit, and a run that finds a test passed there for the same commit does not repeat it.

mod required;
mod results;

use crate::{
    accel::Accel,
    cluster::{Cluster, ClusterSpec, ClusterStatus},
    error::Error,
    images::Image,
    serial, sys,
};
pub use required::skip;
pub use results::Record;
use results::Results;
use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

/// How long a cluster may take to be ready; on two idle cores without KVM it needs a tenth of it.
const READY: Duration = Duration::from_secs(300);

/// One test.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// Its name within the area.
    pub name: &'static str,
    /// 1: in every run. 2: where all is run.
    pub tier: u8,
    /// It is killed after this.
    pub timeout_seconds: u64,
    /// The test.
    pub run: fn(&Context) -> Outcome,
}

impl Test {
    /// A row of an area's table.
    pub const fn new(
        name: &'static str,
        tier: u8,
        timeout_seconds: u64,
        run: fn(&Context) -> Outcome,
    ) -> Test {
        Test {
            name,
            tier,
            timeout_seconds,
            run,
        }
    }
}

/// What a test returns.
pub type Outcome = Result<(), Stop>;

/// Why a test did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// What is wrong.
    Failed(String),
    /// What is missing here to run it.
    Skipped(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error.to_string())
    }
}

/// Fails the test unless this holds.
pub fn check(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(Stop::Failed(what()))
    }
}

/// What a test has.
#[derive(Debug)]
pub struct Context {
    /// Empty folder of this test; kept when it fails.
    pub folder: PathBuf,
    started: Instant,
}

impl Context {
    /// The image of a recipe; without it the test is skipped.
    pub fn image(&self, recipe: &str) -> Result<Image, Stop> {
        Image::of_recipe(recipe)?.ok_or_else(|| {
            Stop::Skipped(format!(
                "no image of recipe '{recipe}': {} names no folder with one",
                crate::images::IMAGES
            ))
        })
    }

    /// A cluster of three masters from a recipe's image, to be changed before it is created.
    pub fn cluster(&self, recipe: &str) -> Result<ClusterSpec, Stop> {
        Ok(ClusterSpec::new(
            "t",
            &self.folder.join("t"),
            self.image(recipe)?,
        ))
    }

    /// Creates a cluster, starts it and waits until every node is ready.
    pub fn ready(&self, spec: ClusterSpec) -> Result<Cluster, Stop> {
        let mut cluster = Cluster::create(spec)?;
        cluster.start()?;
        self.wait_ready(&mut cluster)?;
        Ok(cluster)
    }

    /// Waits until every node of a cluster is ready, and says what changes on the way.
    pub fn wait_ready(&self, cluster: &mut Cluster) -> Result<ClusterStatus, Stop> {
        let mut last = String::new();
        let status = cluster.wait_ready(READY, |status| {
            let line = status.in_a_line();
            if line != last {
                self.say(&line);
                last = line;
            }
        })?;
        Ok(status)
    }

    /// A program of this machine; without it the test is skipped.
    pub fn tool(&self, name: &str) -> Result<Command, Stop> {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
        folders.extend(["/usr/sbin".into(), "/sbin".into()]);
        let found = folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|file| file.exists());
        found
            .map(Command::new)
            .ok_or_else(|| Stop::Skipped(format!("no {name} on this machine")))
    }

    /// The accelerator.
    pub fn accel(&self) -> Accel {
        Accel::detect()
    }

    /// Says how far it is.
    pub fn say(&self, what: &str) {
        println!(
            "      {:6.1} s  {what}",
            self.started.elapsed().as_secs_f64()
        );
    }
}

#[derive(Debug, Default)]
struct Options {
    filters: Vec<String>,
    tier: Option<u8>,
    list: bool,
    results: Option<PathBuf>,
    commit: Option<String>,
    only: Option<String>,
    folder: Option<PathBuf>,
}

const USAGE: &str = "[--list] [--tier N] [--results FILE] [--commit HASH] [NAME...]";

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{text} needs a value"))
        };
        match text.as_str() {
            "--list" => options.list = true,
            "--tier" => {
                let tier = value()?.to_string_lossy().parse();
                options.tier = Some(tier.map_err(|_| "--tier takes 1 or 2".to_owned())?);
            }
            "--results" => options.results = Some(value()?.into()),
            "--commit" => options.commit = Some(value()?.to_string_lossy().into_owned()),
            "--run-one" => options.only = Some(value()?.to_string_lossy().into_owned()),
            "--folder" => options.folder = Some(value()?.into()),
            // What cargo passes to test harnesses and means nothing here.
            "--nocapture" | "--quiet" | "-q" => {}
            flag if flag.starts_with('-') => {
                return Err(format!("unknown option {flag}; there are {USAGE}"));
            }
            _ => options.filters.push(text),
        }
    }
    Ok(options)
}

/// `main` of a test target.
pub fn main(area: &str, tests: &[Test]) -> ExitCode {
    let options = match parse(env::args_os().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{area}: {message}");
            return ExitCode::from(2);
        }
    };
    if let Some(name) = &options.only {
        return run_here(tests, name, options.folder.unwrap_or_default());
    }
    let chosen: Vec<&Test> = tests
        .iter()
        .filter(|test| chosen(area, test, &options))
        .collect();
    if options.list {
        for test in chosen {
            println!(
                "{area}::{}  tier {}  at most {} s",
                test.name, test.tier, test.timeout_seconds
            );
        }
        return ExitCode::SUCCESS;
    }
    let vanished = required::vanished(area, tests, &required::named(area));
    if !vanished.is_empty() {
        eprintln!(
            "{area}: .ci/required names what is no test: {}",
            vanished.join(", ")
        );
        return ExitCode::FAILURE;
    }
    match run_all(area, &chosen, &options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{area}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn chosen(area: &str, test: &Test, options: &Options) -> bool {
    let full = format!("{area}::{}", test.name);
    let named = options.filters.is_empty()
        || options
            .filters
            .iter()
            .any(|filter| full.contains(filter.as_str()));
    named && options.tier.is_none_or(|tier| test.tier <= tier)
}

fn run_all(area: &str, tests: &[&Test], options: &Options) -> Result<bool, Error> {
    let mut results = Results::open(options.results.as_deref(), options.commit.clone())?;
    let required = required::named(area);
    let scratch = scratch()?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (index, test) in tests.iter().enumerate() {
        let name = format!("{area}::{}", test.name);
        let place = format!("[{}/{}]", index + 1, tests.len());
        if results.passed(&name) {
            println!("{place} {name}  Passed before, for this commit");
            passed += 1;
            continue;
        }
        println!("{place} {name}  (at most {} s)", test.timeout_seconds);
        let started = Instant::now();
        let folder = scratch.join(area).join(test.name);
        let outcome = required::forbid_skipping(&name, &required, run_apart(test, &folder)?);
        let seconds = started.elapsed().as_secs_f64();
        results.add(&name, &outcome, seconds)?;
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("{place} {name}  Passed  {seconds:.1} s");
            }
            Err(Stop::Skipped(reason)) => {
                skipped += 1;
                println!("{place} {name}  Skipped: {reason}");
            }
            Err(Stop::Failed(reason)) => {
                failed += 1;
                println!("{place} {name}  Failed  {seconds:.1} s: {reason}");
                show_logs(&folder);
                println!("      its files stay in {}", folder.display());
            }
        }
    }
    // Gone only if no test left files behind.
    let _ = fs::remove_dir(scratch.join(area));
    let _ = fs::remove_dir(&scratch);
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

fn scratch() -> Result<PathBuf, Error> {
    let root = env::var_os("BEDPLATE_SCRATCH").map_or_else(env::temp_dir, PathBuf::from);
    let folder = root.join(format!("bedplate-tests-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
    Ok(folder)
}

/// Runs a test in a process of its own, and takes its files away if it passed.
fn run_apart(test: &Test, folder: &Path) -> Result<Outcome, Error> {
    fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    let program = env::current_exe().map_err(Error::doing("find this program"))?;
    let mut command = Command::new(program);
    command
        .args(["--run-one", test.name, "--folder"])
        .arg(folder);
    let mut child = sys::spawn_tied(command).map_err(Error::doing("start the test's process"))?;
    let deadline = Instant::now() + Duration::from_secs(test.timeout_seconds);
    let status = loop {
        if let Some(status) = child
            .try_wait()
            .map_err(Error::doing("wait for the test"))?
        {
            break Some(status);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let said = fs::read_to_string(folder.join(SAID)).unwrap_or_default();
    let outcome = match (status, said.split_once(' ')) {
        (None, _) => Err(Stop::Failed(format!(
            "not over after {} s",
            test.timeout_seconds
        ))),
        (Some(_), Some(("failed", reason))) => Err(Stop::Failed(reason.to_owned())),
        (Some(_), Some(("skipped", reason))) => Err(Stop::Skipped(reason.to_owned())),
        (Some(status), Some(("passed", _))) if status.success() => Ok(()),
        (Some(status), _) => Err(Stop::Failed(format!(
            "its process ended without a word: {status}"
        ))),
    };
    if !matches!(outcome, Err(Stop::Failed(_))) {
        let _ = fs::remove_dir_all(folder);
    }
    Ok(outcome)
}

/// File in a test's folder with its outcome.
const SAID: &str = "outcome";

fn run_here(tests: &[Test], name: &str, folder: PathBuf) -> ExitCode {
    let Some(test) = tests.iter().find(|test| test.name == name) else {
        eprintln!("no test '{name}'");
        return ExitCode::from(2);
    };
    let context = Context {
        folder,
        started: Instant::now(),
    };
    let outcome = (test.run)(&context);
    let said = match &outcome {
        Ok(()) => "passed ".to_owned(),
        Err(Stop::Failed(reason)) => format!("failed {reason}"),
        Err(Stop::Skipped(reason)) => format!("skipped {reason}"),
    };
    match fs::write(context.folder.join(SAID), said) {
        Ok(()) if outcome.is_ok() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The ends of all serial and QEMU logs below a folder.
fn show_logs(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            show_logs(&path);
        } else if name == "serial.log" || name == "qemu.log" {
            let text = serial::tail(&path, 25);
            if !text.is_empty() {
                println!("      --- end of {}", path.display());
                text.lines().for_each(|line| println!("      | {line}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<Options, String> {
        parse(words.iter().map(OsString::from))
    }

    const NOTHING: Test = Test::new("partition", 2, 1, |_| Ok(()));

    #[test]
    fn tier_and_names_choose() {
        let is_chosen = |words: &[&str]| chosen("cluster", &NOTHING, &options(words).unwrap());
        assert!(is_chosen(&[]));
        assert!(is_chosen(&["--tier", "2"]));
        assert!(!is_chosen(&["--tier", "1"]));
        assert!(is_chosen(&["cluster::part"]));
        assert!(!is_chosen(&["boot::"]));
    }

    #[test]
    fn an_unknown_option_is_refused() {
        let error = options(&["--tire", "1"]).unwrap_err();
        assert!(error.starts_with("unknown option --tire"), "{error}");
        assert_eq!(options(&["--tier"]).unwrap_err(), "--tier needs a value");
    }
}
