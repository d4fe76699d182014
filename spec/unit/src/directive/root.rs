//! `RootDirectory=`, `MountAPIVFS=`: a service in a root folder of its own.

use serde::{Deserialize, Serialize};
use spec_layout::path::{JOURNAL_DEV_LOG, JOURNAL_SOCKET, JOURNAL_STDOUT};

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
    /// Gives one command its root. As in systemd an image takes the place of a folder.
    pub(super) fn give(&self, planning: &Planning<'_>, plan: &mut ExecPlan) {
        let service = &planning.unit.service;
        if self.start_only && !service.exec.start.contains(planning.command) {
            return;
        }
        match service.images.root() {
            Some(image) => plan.mounts.root_image = Some(image),
            None => plan.mounts.root = self.directory.clone(),
        }
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
        documentation: "RootDirectory= and RootImage= hold for ExecStart= only.",
        support: Support::Confine(set_flag),
    },
    Directive {
        section: "Service",
        name: "MountAPIVFS",
        value: "BOOLEAN",
        documentation: "/proc, /sys, /dev and an empty /run within RootDirectory= or RootImage=; yes there.",
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

/// What a service in another root needs of the node.
pub(super) fn entries(planning: &Planning<'_>, plan: &ExecPlan) -> Vec<Entry> {
    let settings = &planning.unit.service.root;
    let mut entries = Vec::new();
    if !plan.mounts.has_root() || settings.api == Some(false) {
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
        let sockets = [JOURNAL_DEV_LOG, JOURNAL_SOCKET, JOURNAL_STDOUT];
        let bound = sockets.map(|path| Entry::bind(path, path, false).missing_ok(true));
        entries.extend(bound);
    }
    entries
}
