//! `bedplate fuzz`: hostile input for what PID 1 reads, by libFuzzer, and how many lines of its readers it has seen.
//!
//! The targets stand in `fuzz/`, a workspace of its own; what must hold of an input is said there. Everything made here
//! is below `target/fuzz`: `seeds/TARGET` from real files, `corpus/TARGET` which grows from run to run, `found/TARGET`
//! with the inputs that broke something. No sanitizer: there is no `unsafe` in what is fuzzed.

mod coverage;
mod dictionary;
mod seed;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::exit::{Context, Error};
use crate::machine::{self, Area, Consent, HOST};
use crate::output::{Cell, Output, Style};
use crate::programs;
use crate::workspace::Workspace;

/// The targets, as `fuzz/Cargo.toml` names them.
const TARGETS: [&str; 7] = [
    "command_line",
    "control",
    "dns",
    "machine_config",
    "notify",
    "specifier",
    "unit_file",
];
/// An input that takes longer than so many seconds is a finding.
const SLOW_SECONDS: u32 = 10;
/// What tells libFuzzer which edges an input has reached, as cargo-fuzz sets it.
const EDGES: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg=fuzzing",
];

/// Give hostile input to what PID 1 and the services read: unit files, command lines, specifiers, messages, DNS.
///
/// Seeds are the unit files of Debian's server packages and of this checkout; what is found is kept in
/// target/fuzz/found, and what was learnt in target/fuzz/corpus. Fails if an input breaks something.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to fuzz; everything if not given.
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Targets at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Fuzz nothing: tell how many lines what is in the corpus reaches, and fail below the least share.
    #[arg(long)]
    coverage: bool,
    /// Install what this machine lacks without asking.
    #[arg(long)]
    yes: bool,
}

/// What became of one target.
#[derive(Debug, Serialize)]
struct Fuzzed {
    target: String,
    runs: u64,
    seconds: u64,
    edges: u64,
    inputs: u64,
    /// Inputs that broke something.
    found: Vec<PathBuf>,
}

/// Fuzzes, or tells what is covered.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let workspace = Workspace::find()?;
    let consent = Consent::from_flag(args.yes);
    machine::ensure(&[Area::Build, Area::Fuzz], &workspace, consent)?;
    let room = Room::new(&workspace)?;
    let wanted: Vec<&str> = TARGETS
        .into_iter()
        .filter(|target| args.targets.is_empty() || args.targets.iter().any(|one| one == target))
        .collect();
    seed::write(&workspace, &room, output)?;
    dictionary::write(&room)?;
    if args.coverage {
        return coverage::run(&workspace, &room, &wanted, output);
    }
    let folder = room.build(&workspace, "edges", &EDGES)?;
    let mut fuzzed = Vec::new();
    for some in wanted.chunks(usize::from(args.jobs)) {
        output.note(&format!("{}: {} s", some.join(", "), args.seconds));
        fuzzed.extend(together(&room, &folder, some, args.seconds)?);
    }
    tell(&fuzzed, output)
}

/// Fuzzes some targets at a time.
fn together(
    room: &Room,
    folder: &Path,
    targets: &[&str],
    seconds: u32,
) -> Result<Vec<Fuzzed>, Error> {
    let started: Result<Vec<_>, Error> = targets
        .iter()
        .map(|target| {
            let mut command = room.target(folder, target)?;
            command.arg(format!("-max_total_time={seconds}"));
            let log = room.folder("log", "")?.join(target);
            let file =
                std::fs::File::create(&log).context(format!("cannot write {}", log.display()))?;
            let child = command
                .stderr(file)
                .spawn()
                .context(format!("cannot start {target}"))?;
            Ok((*target, child, log))
        })
        .collect();
    let mut fuzzed = Vec::new();
    for (target, mut child, log) in started? {
        let status = child.wait().context(format!("cannot wait for {target}"))?;
        let text = std::fs::read(&log).context(format!("cannot read {}", log.display()))?;
        let told = Fuzzed::read(target, &String::from_utf8_lossy(&text), room.found(target)?);
        if !status.success() && told.found.is_empty() {
            let log = log.display();
            return Err(Error::Failed(format!(
                "{target}: {status}; its messages are in {log}"
            )));
        }
        fuzzed.push(told);
    }
    Ok(fuzzed)
}

impl Fuzzed {
    /// Reads libFuzzer's log: its last line about edges and its final statistics.
    fn read(target: &str, log: &str, found: Vec<PathBuf>) -> Self {
        let mut told = Self {
            target: target.into(),
            runs: 0,
            seconds: 0,
            edges: 0,
            inputs: 0,
            found,
        };
        for line in log.lines() {
            let mut words = line.split_whitespace();
            while let Some(word) = words.next() {
                let number = |text: Option<&str>| {
                    let digits = text?.split(|c: char| !c.is_ascii_digit()).next()?;
                    digits.parse().ok()
                };
                match word {
                    "cov:" => told.edges = number(words.next()).unwrap_or(told.edges),
                    "corp:" => told.inputs = number(words.next()).unwrap_or(told.inputs),
                    "Done" => told.runs = number(words.next()).unwrap_or(told.runs),
                    "in" => told.seconds = number(words.next()).unwrap_or(told.seconds),
                    _ => {}
                }
            }
        }
        told
    }
}

fn tell(fuzzed: &[Fuzzed], output: &Output) -> Result<(), Error> {
    if output.is_json() {
        output.json(&fuzzed)?;
    }
    let rows: Vec<Vec<Cell>> = fuzzed
        .iter()
        .map(|one| {
            let found = match one.found.len() {
                0 => Cell::styled("nothing", Style::Good),
                _ => Cell::styled(one.found.len().to_string(), Style::Bad),
            };
            let cells = [one.runs, one.seconds, one.edges, one.inputs];
            let cells = cells.map(|number| Cell::plain(number.to_string()));
            let name = Cell::plain(&one.target);
            std::iter::once(name).chain(cells).chain([found]).collect()
        })
        .collect();
    output.table(
        &["TARGET", "RUNS", "SECONDS", "EDGES", "INPUTS", "FOUND"],
        &rows,
    );
    let found: Vec<String> = fuzzed
        .iter()
        .flat_map(|one| &one.found)
        .map(|path| path.display().to_string())
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "these inputs break something; mend it, and keep them in fuzz/regressions: {}",
        found.join(", ")
    )))
}

/// The folders of the fuzzers.
struct Room {
    /// Where the sources are.
    sources: PathBuf,
    /// Where all that is made goes.
    made: PathBuf,
}

impl Room {
    fn new(workspace: &Workspace) -> Result<Self, Error> {
        Ok(Self {
            sources: workspace.root().join("fuzz"),
            made: workspace.target().join("fuzz"),
        })
    }

    /// A folder below `target/fuzz`, made if it is not there.
    fn folder(&self, kind: &str, target: &str) -> Result<PathBuf, Error> {
        let folder = self.made.join(kind).join(target);
        std::fs::create_dir_all(&folder).context(format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// The inputs that broke something.
    fn found(&self, target: &str) -> Result<Vec<PathBuf>, Error> {
        let folder = self.folder("found", target)?;
        let entries =
            std::fs::read_dir(&folder).context(format!("cannot read {}", folder.display()))?;
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        found.sort();
        Ok(found)
    }

    /// Builds the targets with these flags; the folder they are in.
    fn build(&self, workspace: &Workspace, kind: &str, flags: &[&str]) -> Result<PathBuf, Error> {
        let target = self.folder("build", kind)?;
        let status = programs::cargo(workspace.root())
            .current_dir(&self.sources)
            // The target by name: build scripts are not instrumented then.
            .args(["build", "--locked", "--release", "--bins", "--target", HOST])
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .status()
            .context("cannot start cargo")?;
        if !status.success() {
            let message =
                format!("fuzz/ does not compile ({status}); cargo's messages stand above");
            return Err(Error::Failed(message));
        }
        Ok(target.join(HOST).join("release"))
    }

    /// A target with all its inputs; what it learns goes to its corpus, what it breaks to what was found.
    fn target(&self, folder: &Path, target: &str) -> Result<Command, Error> {
        let mut command = Command::new(folder.join(target));
        command.arg(self.folder("corpus", target)?);
        for more in [
            self.folder("seeds", target)?,
            self.sources.join("regressions").join(target),
        ] {
            if more.is_dir() {
                command.arg(more);
            }
        }
        let found = self.folder("found", target)?;
        command
            .arg(format!("-artifact_prefix={}/", found.display()))
            .arg(format!(
                "-dict={}",
                self.folder("words", "")?.join(target).display()
            ))
            .args([
                format!("-timeout={SLOW_SECONDS}"),
                "-rss_limit_mb=2048".into(),
            ])
            .args(["-max_len=16384", "-print_final_stats=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_those_of_the_fuzz_room() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).expect("readable");
        let mut names: Vec<&str> = text
            .split("[[bin]]")
            .skip(1)
            .filter_map(|bin| bin.split('"').nth(1))
            .collect();
        names.sort_unstable();
        assert_eq!(names, TARGETS);
    }

    #[test]
    fn a_log_is_read_for_its_last_figures() {
        let log = "INFO: seed corpus: files: 3\n#8\tINITED cov: 12 ft: 13 corp: 4/1Kb exec/s: 0 rss: 40Mb\n\
                   #9\tREDUCE cov: 15 ft: 16 corp: 5/1Kb lim: 4\nDone 1101027 runs in 21 second(s)\n";
        let told = Fuzzed::read("notify", log, Vec::new());
        let figures = (told.edges, told.inputs, told.runs, told.seconds);
        assert_eq!(figures, (15, 5, 1_101_027, 21));
    }
}
