//! The control group of a child.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{line, text};

/// The child's control group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cgroup {
    /// Below the cgroup root, such as `system.slice/etcd.service`. PID 1 overrides it for a transient unit outside
    /// `task.slice` and `system.slice`.
    pub path: String,
    /// Files to write, such as `memory.max`, with their content. Where one cannot be written nothing runs; only a limit
    /// of swap is kept by a kernel that cannot swap and has no file for it.
    pub settings: BTreeMap<String, String>,
    /// Files to write where the machine has them, such as `cpu.weight`: one that cannot be written is said.
    pub hints: BTreeMap<String, String>,
    /// What its processes may open and talk to.
    pub filters: super::filter::Filters,
    /// Files that hold something else while the node starts and stops.
    pub startup: BTreeMap<String, Startup>,
    /// Lines to write for single disks.
    pub devices: Vec<DeviceSetting>,
    /// The child may make groups below its own: the group belongs to its user.
    pub delegate: bool,
    /// The group below its own that it is born in.
    pub subgroup: Option<String>,
    /// Its user may watch the group's memory pressure.
    pub pressure: bool,
}

/// What a file holds, by when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Startup {
    /// While the node starts and stops.
    pub starting: String,
    /// In between.
    pub running: String,
}

/// Below which device nodes are.
pub const DEVICES: &str = "/dev/";
/// Most settings of single disks.
const MAX_DEVICES: usize = 256;

/// What is written for one disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceSetting {
    /// A device node below [`DEVICES`]; a partition means its disk.
    pub path: String,
    /// `io.max`, `io.weight` or `io.latency`.
    pub file: String,
    /// What follows the disk's number in the line, such as `rbps=1000`.
    pub value: String,
    /// As in [`Cgroup::hints`].
    pub hint: bool,
}

impl DeviceSetting {
    fn check(&self) -> Result<(), String> {
        let field = "cgroup.devices";
        super::absolute(field, &self.path)?;
        if !self.path.starts_with(DEVICES) {
            return Err(format!("{field}: {:?} is not below {DEVICES}", self.path));
        }
        if !["io.max", "io.weight", "io.latency"].contains(&self.file.as_str()) {
            return Err(format!(
                "{field}: {:?} is not a file of single disks",
                self.file
            ));
        }
        line(field, &self.value)
    }
}

/// Whether this can be the name of a group, and is no file of the kernel's.
pub fn is_subgroup(name: &str) -> bool {
    let kernels = |prefix: &&str| name.starts_with(*prefix);
    let plain = !name.contains(['/', '\0', '\n']) && name.len() <= 255;
    let own = ["cgroup.", "irq.", "misc.", "rdma."];
    let files = FILES.iter().chain(&own).any(kernels);
    plain && !["", ".", ".."].contains(&name) && !files
}

/// How the files of the controllers that may be set begin.
const FILES: [&str; 6] = ["cpu.", "memory.", "pids.", "io.", "cpuset.", "hugetlb."];

impl Cgroup {
    /// Refuses a path that leaves the tree and a setting that is not a plain file of a controller.
    pub fn check(&self) -> Result<(), String> {
        text("cgroup.path", &self.path)?;
        self.filters.check()?;
        let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.len() > 255;
        if self.path.split('/').any(odd) || self.path.split('/').count() > 16 {
            return Err(format!(
                "cgroup.path: {:?} is not a path below the cgroup root",
                self.path
            ));
        }
        let settings = self
            .settings
            .iter()
            .map(|setting| ("cgroup.settings", setting));
        let hints = self.hints.iter().map(|hint| ("cgroup.hints", hint));
        let startup = self.startup.iter().flat_map(|(file, startup)| {
            [&startup.starting, &startup.running].map(|value| ("cgroup.startup", (file, value)))
        });
        for (field, (file, value)) in settings.chain(hints).chain(startup) {
            line(field, value)?;
            let plain = file
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'_'));
            if !plain || file.len() > 64 || !FILES.iter().any(|prefix| file.starts_with(prefix)) {
                return Err(format!("{field}: {file:?} is not a file of a controller"));
            }
        }
        if self.devices.len() > MAX_DEVICES {
            return Err(format!("cgroup.devices: more than {MAX_DEVICES}"));
        }
        self.devices.iter().try_for_each(DeviceSetting::check)?;
        match &self.subgroup {
            Some(name) if !is_subgroup(name) => Err(format!(
                "cgroup.subgroup: {name:?} is not the name of a group"
            )),
            _ => Ok(()),
        }
    }
}
