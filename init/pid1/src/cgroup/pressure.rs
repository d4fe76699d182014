//! What control groups tell of memory, and which of them may be killed for want of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use spec_layout::slice::INIT;

use super::{Cgroups, MAX_GROUPS, folders};
use crate::unit::read_bounded;

/// Most bytes read of one file of a group; memory.stat takes some two thousand.
const MAX_BYTES: usize = 1 << 16;

impl Cgroups {
    /// The text of a file of a group; the empty path is the root.
    pub(crate) fn read(&self, group: &str, file: &str) -> Option<String> {
        let bytes = read_bounded(&self.path(group).join(file), MAX_BYTES).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// Asks the kernel to tell of a group's memory pressure, on the descriptor that is returned.
    pub(crate) fn watch_pressure(&self, group: &str, trigger: &str) -> io::Result<File> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(self.path(group).join("memory.pressure"))?;
        file.write_all(trigger.as_bytes())?;
        Ok(file)
    }

    /// Groups below one that may be killed, or itself: those of which the kernel accounts no part of its own, and those
    /// that it too kills as a whole. So a service does not get away by making groups in its own. PID 1 and groups without
    /// processes are none.
    pub(crate) fn killable(&self, below: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![below.to_string()];
        let mut seen = 0;
        while let Some(group) = open.pop().filter(|_| seen < MAX_GROUPS) {
            seen += 1;
            if !group.is_empty() && !self.populated(&group) {
                continue;
            }
            let whole = group != below && self.is_killed_whole(&group);
            if !whole && self.has_parts(&group) {
                let parts = self.below(&group).into_iter();
                open.extend(parts.filter(|part| part != INIT));
            } else if !group.is_empty() {
                found.push(group);
            }
        }
        found
    }

    /// Whether the groups below one have memory accounts of their own.
    fn has_parts(&self, group: &str) -> bool {
        let text = self.read(group, "cgroup.subtree_control");
        text.is_some_and(|text| text.split_whitespace().any(|name| name == "memory"))
    }

    fn is_killed_whole(&self, group: &str) -> bool {
        let text = self.read(group, "memory.oom.group");
        text.is_some_and(|text| text.trim() == "1")
    }

    fn below(&self, group: &str) -> Vec<String> {
        let names = folders(&self.path(group)).into_iter();
        let names = names.filter_map(|path| path.file_name()?.to_str().map(String::from));
        names
            .map(|name| match group {
                "" => name,
                group => format!("{group}/{name}"),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    #[test]
    fn what_is_killed_is_a_leaf_or_a_group_that_ends_as_a_whole_and_never_pid_1() {
        let folder = tempfile::tempdir().unwrap();
        let group = |path: &str, populated: u8| {
            let path = folder.path().join(path);
            fs::create_dir_all(&path).unwrap();
            fs::write(
                path.join("cgroup.events"),
                format!("populated {populated}\n"),
            )
            .unwrap();
            path
        };
        let has_parts = |path: PathBuf| {
            fs::write(path.join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        };
        has_parts(folder.path().into());
        group("init.scope", 1);
        has_parts(group("system.slice", 1));
        group("system.slice/a.service", 1);
        group("system.slice/empty.service", 0);
        has_parts(group("system.slice/pod.service", 1));
        group("system.slice/pod.service/one", 1);
        group("system.slice/pod.service/two", 1);
        let whole = group("system.slice/whole.service", 1);
        has_parts(whole.clone());
        group("system.slice/whole.service/part", 1);
        // PID 1's own for the commands of one that is delegated, and what anybody makes in its own.
        group("system.slice/hidden.service", 1);
        group("system.slice/hidden.service/.control", 0);
        fs::write(whole.join("memory.oom.group"), "1\n").unwrap();
        let cgroups = Cgroups::open(folder.path()).unwrap();
        let killable = |below: &str| {
            let mut found = cgroups.killable(below);
            found.sort();
            found
        };
        let all = [
            "system.slice/a.service",
            "system.slice/hidden.service",
            "system.slice/pod.service/one",
            "system.slice/pod.service/two",
            "system.slice/whole.service",
        ];
        assert_eq!(killable(""), all);
        assert_eq!(killable("system.slice"), all);
        assert_eq!(killable("system.slice/a.service"), all[..1]);
        assert_eq!(killable("gone.slice"), [""; 0]);
    }

    #[test]
    fn a_trigger_is_written_to_a_file_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let cgroups = Cgroups::open(folder.path()).unwrap();
        assert!(cgroups.watch_pressure("", "full 1 2").is_err());
        let file = folder.path().join("memory.pressure");
        assert!(!file.exists());
        fs::write(&file, "").unwrap();
        cgroups.watch_pressure("", "full 1 2").unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), "full 1 2");
    }
}
