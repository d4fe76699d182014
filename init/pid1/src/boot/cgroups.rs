//! The trunk of the control group tree ([`spec_layout::slice`]), before the first unit.
//!
//! Source: Documentation/admin-guide/cgroup-v2.rst.

use std::fs;
use std::path::Path;

use spec_layout::slice::{INIT, INIT_SETTINGS, TASK, TRUNK};

use crate::cgroup::controller;
use crate::error::{Error, Result, What};

const ROOT: &str = "/sys/fs/cgroup";
/// Handed down to the trunk; what else units ask for comes with them.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Memory that tasks can never take: what the node itself needs to stay reachable, and a part of a large machine.
const RESERVED_BYTES: u64 = 256 << 20;
const RESERVED_PART: u64 = 20;

/// Makes the trunk, moves PID 1 into its own leaf and hands the controllers down.
pub(super) fn build() -> Result<()> {
    let root = Path::new(ROOT);
    let failed = |path: &Path| Error::at(What::Cgroups, path.display().to_string());
    for name in TRUNK.iter().map(|slice| slice.name).chain([INIT]) {
        let group = root.join(name);
        match fs::create_dir(&group) {
            Err(cause) if cause.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed(&group)(cause));
            }
            _ => {}
        }
    }
    let procs = root.join(INIT).join("cgroup.procs");
    fs::write(&procs, "1").map_err(failed(&procs))?;
    hand_down(root, &CONTROLLERS);
    for slice in TRUNK {
        let group = root.join(slice.name);
        hand_down(&group, &controller::ALWAYS);
        slice
            .settings
            .iter()
            .for_each(|(file, value)| set(&group.join(file), value));
    }
    let init = root.join(INIT);
    INIT_SETTINGS
        .iter()
        .for_each(|(file, value)| set(&init.join(file), value));
    if let Some(limit) = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| task_limit(&text))
    {
        set(&root.join(TASK).join("memory.max"), &limit.to_string());
    }
    Ok(())
}

/// A controller that cannot be handed down costs its limits, not the node.
fn hand_down(group: &Path, wanted: &[&'static str]) {
    for (_, message) in controller::hand_down(group, wanted) {
        crate::warning!("{message}");
    }
}

/// A limit that this kernel does not know costs that limit, not the node.
fn set(file: &Path, value: &str) {
    if let Err(cause) = fs::write(file, value) {
        crate::warning!("{}: {value}: {cause}", file.display());
    }
}

/// What tasks may use, from the text of /proc/meminfo.
fn task_limit(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = line
        .trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)?;
    let reserved = RESERVED_BYTES.max(total / RESERVED_PART).min(total / 2);
    Some(total - reserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_get_what_is_left_after_the_reservation() {
        let limit = |kib: u64| task_limit(&format!("MemTotal:       {kib} kB\nMemFree: 1 kB\n"));
        assert_eq!(limit(2 << 20), Some((2 << 30) - RESERVED_BYTES));
        assert_eq!(limit(200 << 20), Some((200 << 30) - (10 << 30)));
        assert_eq!(
            limit(256 << 10),
            Some(128 << 20),
            "never more than half is held back"
        );
        assert_eq!(task_limit("nothing"), None);
    }
}
