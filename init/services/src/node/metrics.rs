//! Metrics in Prometheus' text format, version 0.0.4: units from cgroup v2, the node from /proc.
//!
//! Everything is read when it is asked for; what cannot be read has no line.

use std::fmt::Write;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use spec_layout::path;
use spec_unit::control::UnitStatus;

use super::facts::{small_file, uptime_seconds};

/// Where cgroup v2 is mounted.
const CGROUP: &str = "/sys/fs/cgroup";
/// States of a unit, each a line of its own.
const STATES: [&str; 6] = [
    "active",
    "reloading",
    "inactive",
    "failed",
    "activating",
    "deactivating",
];

/// A metric's name, type and meaning.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

/// The text being written.
struct Text(String);

impl Text {
    fn family(&mut self, family: &Family) {
        let Family { name, kind, help } = family;
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{}\"", escaped(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// A family of one sample, left out where the value is not known.
    fn single(&mut self, family: &Family, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.family(family);
            self.sample(family.name, &[], value);
        }
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// All metrics.
pub(super) fn text(units: &[UnitStatus]) -> String {
    let mut text = Text(String::new());
    node(&mut text);
    unit_states(&mut text, units);
    unit_resources(&mut text, units);
    residents(&mut text, units);
    text.0
}

fn node(text: &mut Text) {
    let stat = small_file("/proc/stat");
    let boot = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
    text.single(&BOOT_TIME, boot);
    text.single(&UPTIME, Some(uptime_seconds()));
    let memory = small_file("/proc/meminfo");
    text.single(&MEMORY_TOTAL, meminfo(&memory, "MemTotal"));
    text.single(&MEMORY_AVAILABLE, meminfo(&memory, "MemAvailable"));
    let load = small_file("/proc/loadavg");
    text.single(
        &LOAD,
        load.split_whitespace()
            .next()
            .and_then(|word| word.parse::<f64>().ok()),
    );
    let disk = statvfs(path::STATE).ok();
    let bytes = |blocks: u64, unit: u64| blocks.saturating_mul(unit);
    text.single(
        &DISK_TOTAL,
        disk.map(|disk| bytes(disk.blocks(), disk.fragment_size())),
    );
    text.single(
        &DISK_AVAILABLE,
        disk.map(|disk| bytes(disk.blocks_available(), disk.fragment_size())),
    );
}

const BOOT_TIME: Family = Family {
    name: "bedplate_node_boot_time_seconds",
    kind: "gauge",
    help: "When the kernel started, since the epoch.",
};
const UPTIME: Family = Family {
    name: "bedplate_node_uptime_seconds",
    kind: "gauge",
    help: "Seconds since the kernel started.",
};
const MEMORY_TOTAL: Family = Family {
    name: "bedplate_node_memory_total_bytes",
    kind: "gauge",
    help: "Memory of the machine.",
};
const MEMORY_AVAILABLE: Family = Family {
    name: "bedplate_node_memory_available_bytes",
    kind: "gauge",
    help: "Memory that can be had without swapping.",
};
const LOAD: Family = Family {
    name: "bedplate_node_load1",
    kind: "gauge",
    help: "Load average of one minute.",
};
const DISK_TOTAL: Family = Family {
    name: "bedplate_node_state_total_bytes",
    kind: "gauge",
    help: "Size of the state partition.",
};
const DISK_AVAILABLE: Family = Family {
    name: "bedplate_node_state_available_bytes",
    kind: "gauge",
    help: "Free space of the state partition.",
};
const UNIT_STATE: Family = Family {
    name: "bedplate_unit_state",
    kind: "gauge",
    help: "1 for the state a unit is in.",
};
const UNIT_RESTARTS: Family = Family {
    name: "bedplate_unit_restarts_total",
    kind: "counter",
    help: "Automatic restarts since the last explicit start.",
};
const UNIT_CPU: Family = Family {
    name: "bedplate_unit_cpu_seconds_total",
    kind: "counter",
    help: "CPU time of a unit's cgroup.",
};
const UNIT_MEMORY: Family = Family {
    name: "bedplate_unit_memory_bytes",
    kind: "gauge",
    help: "Memory of a unit's cgroup.",
};
const UNIT_TASKS: Family = Family {
    name: "bedplate_unit_tasks",
    kind: "gauge",
    help: "Processes and threads of a unit's cgroup.",
};
const RESIDENT: Family = Family {
    name: "bedplate_process_resident_bytes",
    kind: "gauge",
    help: "Resident memory of PID 1 (unit init.scope) and of each unit's main process, shared pages counted whole.",
};

/// Bytes of a line of /proc/meminfo or /proc/PID/status.
fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

fn unit_states(text: &mut Text, units: &[UnitStatus]) {
    text.family(&UNIT_STATE);
    for unit in units {
        for state in STATES {
            let value = u8::from(unit.active == state);
            text.sample(
                UNIT_STATE.name,
                &[("unit", &unit.name), ("state", state)],
                value,
            );
        }
    }
    text.family(&UNIT_RESTARTS);
    for unit in units {
        text.sample(UNIT_RESTARTS.name, &[("unit", &unit.name)], unit.restarts);
    }
}

fn unit_resources(text: &mut Text, units: &[UnitStatus]) {
    type Read = fn(&str) -> Option<f64>;
    let families: [(&Family, Read); 3] = [
        (&UNIT_CPU, |cgroup| {
            cpu_seconds(&cgroup_file(cgroup, "cpu.stat")?)
        }),
        (&UNIT_MEMORY, |cgroup| {
            cgroup_file(cgroup, "memory.current")?.trim().parse().ok()
        }),
        (&UNIT_TASKS, |cgroup| {
            cgroup_file(cgroup, "pids.current")?.trim().parse().ok()
        }),
    ];
    for (family, read) in families {
        text.family(family);
        for unit in units {
            if let Some(value) = unit.cgroup.as_deref().and_then(read) {
                text.sample(family.name, &[("unit", &unit.name)], value);
            }
        }
    }
}

/// The proportional share (Pss) is not for us to see: the kernel shows it to tracers only.
fn residents(text: &mut Text, units: &[UnitStatus]) {
    text.family(&RESIDENT);
    let processes = units
        .iter()
        .filter_map(|unit| Some((unit.name.as_str(), unit.main_pid?)));
    for (name, pid) in std::iter::once(("init.scope", 1)).chain(processes) {
        let status = small_file(&format!("/proc/{pid}/status"));
        if let Some(bytes) = meminfo(&status, "VmRSS") {
            text.sample(RESIDENT.name, &[("unit", name)], bytes);
        }
    }
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    let usage = stat
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(usage.trim().parse::<f64>().ok()? / 1e6)
}

/// Memory of a unit's cgroup, by its path below the cgroup root.
pub(super) fn memory_bytes(cgroup: &str) -> Option<u64> {
    cgroup_file(cgroup, "memory.current")?.trim().parse().ok()
}

fn cgroup_file(cgroup: &str, file: &str) -> Option<String> {
    let below = Path::new(cgroup.trim_start_matches('/'));
    let plain = below
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    if !plain {
        return None;
    }
    let text = small_file(Path::new(CGROUP).join(below).join(file).to_str()?);
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_state_is_one_of_its_lines() {
        let unit = UnitStatus {
            name: "a\"b.service".into(),
            active: "failed".into(),
            restarts: 3,
            ..UnitStatus::default()
        };
        let text = text(&[unit]);
        assert!(
            text.contains(r#"bedplate_unit_state{unit="a\"b.service",state="failed"} 1"#),
            "{text}"
        );
        assert!(text.contains(r#"bedplate_unit_state{unit="a\"b.service",state="active"} 0"#));
        assert!(text.contains(r#"bedplate_unit_restarts_total{unit="a\"b.service"} 3"#));
    }

    #[test]
    fn every_sample_has_its_type_above_it() {
        let text = text(&[UnitStatus {
            name: "x.service".into(),
            ..UnitStatus::default()
        }]);
        let mut known = Vec::new();
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(family) => known.push(family.split(' ').next().unwrap_or_default().to_owned()),
                None if line.starts_with('#') => {}
                None => {
                    let name = line.split(['{', ' ']).next().unwrap_or_default().to_owned();
                    assert!(known.contains(&name), "{line}");
                }
            }
        }
        assert!(known.contains(&"bedplate_node_boot_time_seconds".to_owned()));
    }

    #[test]
    fn kernel_files_are_read_in_their_units() {
        assert_eq!(
            meminfo("MemTotal:   2048 kB\nMemFree: 1 kB\n", "MemTotal"),
            Some(2 << 20)
        );
        assert_eq!(cpu_seconds("usage_usec 2500000\nuser_usec 1\n"), Some(2.5));
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn a_cgroup_path_cannot_leave_the_tree() {
        assert_eq!(cgroup_file("system.slice/../../../etc", "hostname"), None);
    }
}
