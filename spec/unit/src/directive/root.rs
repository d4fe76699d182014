//! `RootDirectory=`, `MountAPIVFS=`: a service in a root folder of its own.

use serde::{Deserialize, Serialize};

use super::mount::Entry;
use super::protect;
use super::{Directive, Planning, Support, Value};
use crate::plan::{Content, ExecPlan};
use crate::unit::Unit;
use crate::value;

/// The root folder of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootSettings {
    /// RootDirectory=; none is the node's root.
    pub directory: Option<String>,
    /// MountAPIVFS=, if given.
    pub api: Option<bool>,
    /// BindLogSockets=, if given.
    pub log_sockets: Option<bool>,
    /// RootDirectoryStartOnly=: the other commands see the node's root.
    pub start_only: bool,
}

impl RootSettings {
    /// Whether the unit asks for another root.
    pub fn is_set(&self) -> bool {
        self.directory.is_some()
    }

    /// The root of one command.
    pub(super) fn of(&self, planning: &Planning<'_>) -> Option<String> {
        let start = planning.unit.service.exec.start.contains(planning.command);
        let seen = start || !self.start_only;
        self.directory.clone().filter(|_| seen)
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "RootDirectory",
        value: "PATH",
        documentation: "The folder that is / to its commands.",
        support: Support::Confine(set_directory),
    },
    Directive {
        section: "Service",
        name: "RootDirectoryStartOnly",
        value: "BOOLEAN",
        documentation: "RootDirectory= holds for ExecStart= only.",
        support: Support::Confine(set_flag),
    },
    Directive {
        section: "Service",
        name: "MountAPIVFS",
        value: "BOOLEAN",
        documentation: "/proc, /sys, /dev and an empty /run within RootDirectory=; yes there.",
        support: Support::Confine(set_flag),
    },
    Directive {
        section: "Service",
        name: "BindLogSockets",
        value: "BOOLEAN",
        documentation: "The journal's sockets are within RootDirectory=; yes with MountAPIVFS=.",
        support: Support::Confine(set_flag),
    },
];

fn set_directory(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.root.directory = match value.expanded().as_str() {
        "" => None,
        text => Some(value::path(text)?).filter(|path| path != "/"),
    };
    Ok(())
}

fn set_flag(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let flag = match value.is_reset() {
        true => None,
        false => Some(value::boolean(value.text)?),
    };
    let root = &mut unit.service.root;
    match value.name {
        "MountAPIVFS" => root.api = flag,
        "BindLogSockets" => root.log_sockets = flag,
        _ => root.start_only = flag == Some(true),
    }
    Ok(())
}

/// Sockets of the journal.
const LOG_SOCKETS: [&str; 3] = [
    "/run/systemd/journal/dev-log",
    "/run/systemd/journal/socket",
    "/run/systemd/journal/stdout",
];

/// What a service in another root needs of the node.
pub(super) fn entries(planning: &Planning<'_>, plan: &ExecPlan) -> Vec<Entry> {
    let settings = &planning.unit.service.root;
    let mut entries = Vec::new();
    if plan.mounts.root.is_none() || settings.api == Some(false) {
        return entries;
    }
    let protection = protect::of(planning.unit);
    let processes = planning.unit.service.namespaces.processes;
    if protection.proc.is_none() && !protection.only_processes && !processes {
        let content = Content::Proc {
            hide: None,
            only_processes: false,
        };
        entries.push(Entry::new("/proc", content));
    }
    entries.push(Entry::bind("/sys", "/sys", true));
    if !protection.devices {
        entries.push(Entry::bind("/dev", "/dev", true));
    }
    let options = "mode=0755".into();
    entries.push(Entry::new("/run", Content::Tmpfs { options }));
    let notify = plan.environment.get("NOTIFY_SOCKET");
    entries.extend(notify.map(|path| Entry::bind(path, path, false)));
    if settings.log_sockets != Some(false) {
        let sockets = LOG_SOCKETS.iter();
        entries.extend(sockets.map(|path| Entry::bind(path, path, false).missing_ok(true)));
    }
    entries
}
