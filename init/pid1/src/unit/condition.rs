//! Evaluating `Condition…=` and `Assert…=` on the node.
//!
//! - [`compare`]: operators, versions, patterns
//! - [`machine`]: hardware, firmware, kernel
//! - [`init`]: what PID 1 is and was handed
//! - [`path`]: files and folders
//! - [`pressure`]: how long tasks wait for what is short
//!
//! Source: systemd.unit(5) "Conditions and Asserts".

mod compare;
mod init;
mod machine;
mod path;
mod pressure;

use spec_unit::directive::condition::{Check, Condition};
use spec_unit::specifier::Facts;

/// A check that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unmet {
    /// It was an assert: the unit fails.
    pub(crate) assert: bool,
    /// Which, for people.
    pub(crate) what: String,
}

/// All checks hold: every plain one, and of those with `|` at least one.
pub(crate) fn check(conditions: &[Condition], facts: &Facts) -> Result<(), Unmet> {
    for assert in [false, true] {
        let (triggers, plain): (Vec<&Condition>, Vec<&Condition>) = conditions
            .iter()
            .filter(|condition| condition.assert == assert)
            .partition(|condition| condition.trigger);
        let failed = plain.into_iter().find(|condition| !holds(condition, facts));
        let triggered = triggers.iter().any(|condition| holds(condition, facts));
        let failed = failed.or(if triggered {
            None
        } else {
            triggers.first().copied()
        });
        if let Some(condition) = failed {
            let not = if condition.negated { "!" } else { "" };
            let what = format!(
                "{}={not}{} does not hold ({})",
                condition.name(),
                condition.argument,
                condition.at
            );
            return Err(Unmet { assert, what });
        }
    }
    Ok(())
}

/// As in systemd, one that cannot be told does not hold, negated or not.
fn holds(condition: &Condition, facts: &Facts) -> bool {
    evaluate(condition.check, &condition.argument, facts)
        .is_some_and(|held| held != condition.negated)
}

/// Whether it holds; none if that cannot be told.
fn evaluate(check: Check, argument: &str, facts: &Facts) -> Option<bool> {
    path::evaluate(check, argument)
        .or_else(|| machine::evaluate(check, argument, facts))
        .or_else(|| init::evaluate(check, argument, facts))
        .or_else(|| pressure::evaluate(check, argument))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use spec_unit::finding::Place;

    use super::*;

    fn condition(check: Check, argument: &str) -> Condition {
        let at = Place::new("/a.service", 3);
        Condition {
            check,
            argument: argument.into(),
            negated: false,
            trigger: false,
            assert: false,
            at,
        }
    }

    fn hold(conditions: &[Condition]) -> bool {
        check(
            conditions,
            &Facts {
                hostname: "dev-1".into(),
                ..Facts::default()
            },
        )
        .is_ok()
    }

    #[test]
    fn paths_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
        fs::write(path("full.txt"), "x").unwrap();
        fs::write(path("empty"), "").unwrap();
        assert!(hold(&[
            condition(Check::PathExists, &path("empty")),
            condition(Check::FileNotEmpty, &path("full.txt"))
        ]));
        assert!(!hold(&[condition(Check::FileNotEmpty, &path("empty"))]));
        assert!(hold(&[condition(Check::PathExistsGlob, &path("*.txt"))]));
        assert!(!hold(&[condition(Check::PathExistsGlob, &path("*.conf"))]));
        assert!(hold(&[condition(Check::DirectoryNotEmpty, &path(""))]));
        assert!(hold(&[condition(Check::PathIsMountPoint, "/proc")]));
    }

    #[test]
    fn negation_triggers_and_asserts() {
        let missing = condition(Check::PathExists, "/missing");
        assert!(hold(&[Condition {
            negated: true,
            ..missing.clone()
        }]));
        let trigger = |check, argument| Condition {
            trigger: true,
            ..condition(check, argument)
        };
        assert!(hold(&[
            trigger(Check::PathExists, "/missing"),
            trigger(Check::Host, "dev-*")
        ]));
        assert!(!hold(&[
            trigger(Check::PathExists, "/missing"),
            trigger(Check::Host, "prod-*")
        ]));
        let unmet = check(
            &[Condition {
                assert: true,
                ..missing
            }],
            &Facts::default(),
        )
        .unwrap_err();
        assert!(
            unmet.assert
                && unmet.what.contains("AssertPathExists=/missing")
                && unmet.what.contains("/a.service:3")
        );
    }
}
