//! Controllers: handed down the tree to where a unit asks for what they do, and no further.
//!
//! Memory and tasks are counted for every unit. The processor's controller makes each switch between tasks dearer by
//! the depth of the tree, and that of the disks each request, so those two and the one of processor sets are handed
//! down when a unit sets a file of theirs, as in systemd. What was handed down once stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use spec_unit::plan::Cgroup;

/// Controllers that may be handed down to units, as far as the kernel has them.
pub(crate) const ALL: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
/// Those that every unit has.
pub(crate) const ALWAYS: [&str; 2] = ["memory", "pids"];
/// Most groups of which it is remembered what they have.
const MAX_REMEMBERED: usize = 4096;

/// The controllers that a group needs. One whose user makes groups in it has them all.
pub(super) fn wanted(group: &Cgroup) -> Vec<&'static str> {
    let files = group.settings.keys().chain(group.hints.keys());
    let files = files.chain(group.startup.keys()).map(String::as_str);
    let files: Vec<&str> = files
        .chain(group.devices.iter().map(|device| device.file.as_str()))
        .collect();
    let asks = |controller: &&str| {
        let mut kinds = files.iter().filter_map(|file| file.split_once('.'));
        group.delegate || ALWAYS.contains(controller) || kinds.any(|(kind, _)| kind == *controller)
    };
    ALL.into_iter().filter(asks).collect()
}

/// What was handed down where.
#[derive(Debug, Default)]
pub(super) struct Handed {
    groups: BTreeMap<PathBuf, BTreeSet<&'static str>>,
    /// Controllers that could not be, said once each.
    missing: BTreeSet<&'static str>,
}

impl Handed {
    /// Hands controllers of a group down to those in it. One that cannot be is said; whoever asks for a limit of it is
    /// refused then.
    pub(super) fn down(&mut self, path: &Path, wanted: &[&'static str]) {
        let known = self.groups.get(path);
        let new = |name: &&&'static str| known.is_none_or(|known| !known.contains(**name));
        let new: Vec<&'static str> = wanted.iter().filter(new).copied().collect();
        if new.is_empty() {
            return;
        }
        for (controller, message) in hand_down(path, &new) {
            if self.missing.insert(controller) {
                crate::warning!("{message}");
            }
        }
        if self.groups.len() >= MAX_REMEMBERED {
            self.groups.clear();
        }
        self.groups.entry(path.into()).or_default().extend(new);
    }

    /// Whether it is known that a group and all above it have handed these down: they are, always from the root on.
    pub(super) fn has(&self, path: &Path, wanted: &[&'static str]) -> bool {
        let known = self.groups.get(path);
        known.is_some_and(|known| wanted.iter().all(|name| known.contains(name)))
    }

    /// A group is gone.
    pub(super) fn forget(&mut self, path: &Path) {
        self.groups.retain(|known, _| !known.starts_with(path));
    }
}

/// Hands controllers of a group down, those that it has; returns what failed.
pub(crate) fn hand_down(path: &Path, wanted: &[&'static str]) -> Vec<(&'static str, String)> {
    let words = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
    let (present, active) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    let has = |list: &str, name: &str| list.split_ascii_whitespace().any(|word| word == name);
    let file = path.join("cgroup.subtree_control");
    let missing = wanted.iter().copied();
    let missing = missing.filter(|name| has(&present, name) && !has(&active, name));
    missing
        .filter_map(|name| {
            let cause = super::write(&file, &format!("+{name}")).err()?;
            Some((name, format!("{}: +{name}: {cause}", file.display())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(settings: &[&str], hints: &[&str]) -> Cgroup {
        let files = |files: &[&str]| {
            let file = |file: &&str| (file.to_string(), "1".to_string());
            files.iter().map(file).collect()
        };
        Cgroup {
            settings: files(settings),
            hints: files(hints),
            ..Cgroup::default()
        }
    }

    #[test]
    fn a_group_has_the_controllers_that_it_asks_for() {
        assert_eq!(wanted(&Cgroup::default()), ALWAYS);
        let asks = group(&["cpu.max", "pids.max"], &["io.weight"]);
        assert_eq!(wanted(&asks), ["cpu", "io", "memory", "pids"]);
        assert_eq!(
            wanted(&group(&["cpuset.cpus"], &[])),
            ["cpuset", "memory", "pids"]
        );
        let delegated = Cgroup {
            delegate: true,
            ..Cgroup::default()
        };
        assert_eq!(wanted(&delegated), ALL);
    }

    #[test]
    fn a_controller_that_cannot_be_handed_down_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let present = folder.path().join("cgroup.controllers");
        fs::write(present, "cpu memory rdma\n").unwrap();
        let failed = hand_down(folder.path(), &ALL);
        let names: Vec<_> = failed.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["cpu", "memory"]);
        assert!(failed[0].1.contains("subtree_control: +cpu: "));
        fs::write(folder.path().join("cgroup.subtree_control"), "cpu memory").unwrap();
        assert_eq!(hand_down(folder.path(), &ALL), []);
    }

    #[test]
    fn what_was_handed_down_is_written_once_for_each_group() {
        let folder = tempfile::tempdir().unwrap();
        let control = folder.path().join("cgroup.subtree_control");
        fs::write(folder.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        fs::write(&control, "").unwrap();
        let mut handed = Handed::default();
        handed.down(folder.path(), &["memory"]);
        assert_eq!(fs::read_to_string(&control).unwrap(), "+memory");
        fs::write(&control, "").unwrap();
        assert!(handed.has(folder.path(), &["memory"]) && !handed.has(folder.path(), &["cpu"]));
        handed.down(folder.path(), &["memory"]);
        assert_eq!(fs::read_to_string(&control).unwrap(), "");
        handed.down(folder.path(), &["cpu", "memory"]);
        assert_eq!(fs::read_to_string(&control).unwrap(), "+cpu");
        handed.forget(folder.path());
        assert!(!handed.has(folder.path(), &["memory"]));
        handed.down(folder.path(), &["memory"]);
        assert_eq!(fs::read_to_string(&control).unwrap(), "+memory");
    }
}
