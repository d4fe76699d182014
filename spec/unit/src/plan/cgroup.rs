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
    /// The child may make groups below its own: the group belongs to its user.
    pub delegate: bool,
}

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
        for (field, (file, value)) in settings.chain(hints) {
            line(field, value)?;
            let known = ["cpu.", "memory.", "pids.", "io.", "cpuset.", "hugetlb."];
            let plain = file
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'_'));
            if !plain || file.len() > 64 || !known.iter().any(|prefix| file.starts_with(prefix)) {
                return Err(format!("{field}: {file:?} is not a file of a controller"));
            }
        }
        Ok(())
    }
}
