//! Tests that must be there and must run, where continuous integration looks.

use super::{Outcome, Stop, Test};
use std::{env, fs, thread};

/// Required tests that the area does not have.
pub(super) fn vanished(area: &str, tests: &[Test], required: &[String]) -> Vec<String> {
    let there = |name: &&String| {
        tests
            .iter()
            .any(|test| **name == format!("{area}::{}", test.name))
    };
    required
        .iter()
        .filter(|name| !there(name))
        .cloned()
        .collect()
}

fn ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// Says that a test of Rust's own harness, which has no word for it, cannot run here; it is to return then. Where `CI`
/// is `true` it fails instead. The harness gives each test a thread that is named after it, if it has two or more.
pub fn skip(reason: &str) {
    assert!(!ci(), "skipped where CI=true: {reason}");
    let current = thread::current();
    let line = format!("\nSkipped: {}: {reason}\n", current.name().unwrap_or("?"));
    // Past the harness, which keeps what a passing test prints to itself.
    let _ = rustix::io::write(std::io::stdout(), line.as_bytes());
}

/// A required test that was skipped has failed, where `CI` is `true`.
pub(super) fn forbid_skipping(name: &str, required: &[String], outcome: Outcome) -> Outcome {
    match outcome {
        Err(Stop::Skipped(reason)) if ci() && required.iter().any(|one| one == name) => {
            Err(Stop::Failed(format!(
                "it is listed in .ci/required and was skipped: {reason}"
            )))
        }
        outcome => outcome,
    }
}

/// Those of an area: names in `.ci/required`, one per line, from this folder or one above it.
pub(super) fn named(area: &str) -> Vec<String> {
    let here = env::current_dir().unwrap_or_default();
    let file = here
        .ancestors()
        .map(|folder| folder.join(".ci/required"))
        .find(|file| file.exists());
    let text = file
        .and_then(|file| fs::read_to_string(file).ok())
        .unwrap_or_default();
    let names = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    names
        .filter(|name| name.starts_with(&format!("{area}::")))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_required_test_that_vanished_is_named() {
        let tests = [Test::new("partition", 1, 1, |_| Ok(()))];
        let required = ["cluster::partition", "cluster::gone"].map(str::to_owned);
        assert_eq!(vanished("cluster", &tests, &required), ["cluster::gone"]);
    }
}
