//! The result file: JSON lines, appended, each with the commit it is of.

use super::{Outcome, Stop};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// One line of the result file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was tested; ends in `-dirty` if files differed from it.
    pub commit: String,
    /// `AREA::NAME`.
    pub test: String,
    /// `passed`, `failed` or `skipped`.
    pub outcome: String,
    /// Why it failed or was skipped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How long it took.
    pub seconds: f64,
}

pub(super) struct Results {
    file: Option<PathBuf>,
    commit: String,
    passed: HashSet<String>,
}

impl Results {
    pub(super) fn open(file: Option<&Path>, commit: Option<String>) -> Result<Results> {
        let Some(file) = file else {
            return Ok(Results {
                file: None,
                commit: String::new(),
                passed: HashSet::new(),
            });
        };
        let commit = commit.unwrap_or_else(head);
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::io("read", file)(error)),
        };
        // A line cut short by a power cut is a test not done. What changes without a commit is always done.
        let records = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Record>(line).ok());
        let passed = records
            .filter(|record| {
                record.commit == commit && record.outcome == "passed" && !commit.ends_with("-dirty")
            })
            .map(|record| record.test)
            .collect();
        Ok(Results {
            file: Some(file.to_owned()),
            commit,
            passed,
        })
    }

    pub(super) fn passed(&self, test: &str) -> bool {
        self.passed.contains(test)
    }

    pub(super) fn add(&mut self, test: &str, outcome: &Outcome, seconds: f64) -> Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let (outcome, reason) = match outcome {
            Ok(()) => ("passed", ""),
            Err(Stop::Failed(reason)) => ("failed", reason.as_str()),
            Err(Stop::Skipped(reason)) => ("skipped", reason.as_str()),
        };
        let record = Record {
            commit: self.commit.clone(),
            test: test.into(),
            outcome: outcome.into(),
            reason: reason.into(),
            seconds: (seconds * 10.0).round() / 10.0,
        };
        let mut line =
            serde_json::to_string(&record).map_err(|error| Error::Failed(error.to_string()))?;
        line.push('\n');
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(Error::io("write", file))
    }
}

/// The commit checked out here, `-dirty` if files differ from it; `unknown-dirty` outside of a clone.
fn head() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".into());
    match git(&["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}-dirty"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_where_the_last_one_of_the_same_commit_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.jsonl");
        let open = |commit: &str| Results::open(Some(&file), Some(commit.into())).unwrap();
        let mut first = open("aaa");
        first.add("boot::base", &Ok(()), 2.04).unwrap();
        first
            .add("boot::bad", &Err(Stop::Failed("no".into())), 1.0)
            .unwrap();
        first
            .add("boot::tool", &Err(Stop::Skipped("none".into())), 0.0)
            .unwrap();
        let mut rest = OpenOptions::new().append(true).open(&file).unwrap();
        rest.write_all(b"{\"commit\": \"aaa\", \"te").unwrap();

        let again = open("aaa");
        assert!(again.passed("boot::base"));
        assert!(!again.passed("boot::bad") && !again.passed("boot::tool"));
        assert!(!open("bbb").passed("boot::base"));
    }

    #[test]
    fn changed_files_are_tested_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.jsonl");
        let open = || Results::open(Some(&file), Some("aaa-dirty".into())).unwrap();
        open().add("boot::base", &Ok(()), 1.0).unwrap();
        assert!(!open().passed("boot::base"));
    }
}
