//! Evaluating `Condition…=` and `Assert…=` on the node.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

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

fn holds(condition: &Condition, facts: &Facts) -> bool {
    evaluate(condition.check, &condition.argument, facts) != condition.negated
}

fn evaluate(check: Check, argument: &str, facts: &Facts) -> bool {
    let path = Path::new(argument);
    match check {
        Check::PathExists => path.exists(),
        Check::PathExistsGlob => glob(path),
        Check::PathIsDirectory => path.is_dir(),
        Check::PathIsSymbolicLink => path.is_symlink(),
        Check::PathIsMountPoint => is_mount_point(path),
        Check::PathIsReadWrite => rustix::fs::statvfs(path).is_ok_and(|status| {
            !status
                .f_flag
                .contains(rustix::fs::StatVfsMountFlags::RDONLY)
        }),
        Check::DirectoryNotEmpty => {
            fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
        }
        Check::FileNotEmpty => {
            fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
        }
        Check::FileIsExecutable => fs::metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0),
        Check::KernelCommandLine => {
            let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
            let named = |word: &str| {
                word == argument
                    || (!argument.contains('=') && word.split('=').next() == Some(argument))
            };
            line.split_whitespace().any(named)
        }
        Check::Host => argument == facts.machine_id || matches(argument, &facts.hostname),
        Check::Virtualization => virtualization(argument),
        Check::Architecture => argument == facts.architecture || argument == "native",
        Check::Capability => {
            spec_unit::capability::CapabilitySet::named(argument).is_some_and(|wanted| {
                let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
                let bounding = status
                    .lines()
                    .find_map(|line| line.strip_prefix("CapBnd:"))
                    .unwrap_or_default();
                u64::from_str_radix(bounding.trim(), 16)
                    .is_ok_and(|bounding| bounding & wanted.0 == wanted.0)
            })
        }
        Check::FirstBoot => {
            let first = Path::new("/run/systemd/first-boot").exists();
            first == matches!(argument, "yes" | "true" | "1" | "on")
        }
    }
}

fn is_mount_point(path: &Path) -> bool {
    let own = fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    let parent = fs::metadata(path.join("..")).map(|metadata| (metadata.dev(), metadata.ino()));
    match (own, parent) {
        (Ok(own), Ok(parent)) => own.0 != parent.0 || own.1 == parent.1,
        _ => false,
    }
}

/// A hypervisor tells itself by a CPU flag and by name in the DMI tables.
fn virtualization(wanted: &str) -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let vm = flags
        .lines()
        .any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "hypervisor"));
    let vendor = fs::read_to_string("/sys/class/dmi/id/sys_vendor")
        .unwrap_or_default()
        .to_ascii_lowercase();
    match wanted {
        "yes" | "true" | "1" | "vm" => vm,
        "no" | "false" | "0" => !vm,
        "container" => false,
        "kvm" | "qemu" => vm && vendor.contains("qemu"),
        other => vm && vendor.contains(other),
    }
}

/// Whether an entry of the folder matches the last part of the path.
fn glob(path: &Path) -> bool {
    let (Some(folder), Some(pattern)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return false;
    };
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    entries.into_iter().any(|entry| {
        entry
            .file_name()
            .to_str()
            .is_some_and(|name| matches(pattern, name))
    })
}

/// `*` and `?` as in a shell.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
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

    proptest! {
        #[test]
        fn a_pattern_of_stars_matches_all(text in "[a-z]{0,20}") {
            let prefix = text.clone() + "*";
            prop_assert!(matches("*", &text) && matches(&prefix, &text) && matches(&text, &text));
            let holes: String = text.chars().map(|_| '?').collect();
            prop_assert!(matches(&holes, &text));
        }
    }
}
