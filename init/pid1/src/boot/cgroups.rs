//! The trunk of the control group tree: what every process of the node is below.
//!
//! ```text
//! init.scope      PID 1, before all others
//! system.slice    the node's own services: first served when memory or CPU is short
//! cluster.slice   the datacenter components
//! task.slice      what people run, in what is left after the node's reservation
//! ```
//!
//! Source: Documentation/admin-guide/cgroup-v2.rst.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result, What};

const ROOT: &str = "/sys/fs/cgroup";
/// Handed down to the slices where the kernel has them.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
const INIT: &str = "init.scope";

/// A slice with its settings (file, value).
type Slice = (&'static str, &'static [(&'static str, &'static str)]);

const SLICES: [Slice; 3] = [
    (
        "system.slice",
        &[("cpu.weight", "400"), ("memory.low", "268435456")],
    ),
    (
        "cluster.slice",
        &[("cpu.weight", "200"), ("memory.low", "134217728")],
    ),
    ("task.slice", &[("cpu.weight", "100")]),
];

/// PID 1 itself: its turn comes whoever else wants the processor, and what it is made of is never read from a disk again
/// because others want the memory.
const INIT_SETTINGS: [(&str, &str); 2] = [("cpu.weight", "1000"), ("memory.min", "33554432")];

/// Memory that tasks can never take: what the node itself needs to stay reachable, and a part of a large machine.
const RESERVED_BYTES: u64 = 256 << 20;
const RESERVED_PART: u64 = 20;

/// Makes the trunk, moves PID 1 into its own leaf and hands the controllers down.
pub(super) fn build() -> Result<()> {
    let root = Path::new(ROOT);
    let failed = |path: &Path| Error::at(What::Cgroups, path.display().to_string());
    for name in SLICES.iter().map(|(name, _)| *name).chain([INIT]) {
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
    hand_down(root)?;
    for (name, settings) in SLICES {
        let group = root.join(name);
        hand_down(&group)?;
        settings
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
        set(&root.join("task.slice/memory.max"), &limit.to_string());
    }
    Ok(())
}

fn hand_down(group: &Path) -> Result<()> {
    let present = group.join("cgroup.controllers");
    let present =
        fs::read_to_string(&present).map_err(Error::at(What::Cgroups, present.display()))?;
    for controller in CONTROLLERS
        .iter()
        .filter(|&name| present.split_whitespace().any(|word| word == *name))
    {
        set(
            &group.join("cgroup.subtree_control"),
            &format!("+{controller}"),
        );
    }
    Ok(())
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
