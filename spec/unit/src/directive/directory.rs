//! `RuntimeDirectory=`, `StateDirectory=` and their like: folders made for a service.

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::plan::{self, ExecPlan};
use crate::unit::Unit;
use crate::value;

/// Kinds of folders: directive, parent, variable.
const KINDS: [(&str, &str, &str); 5] = [
    ("Runtime", "/run", "RUNTIME_DIRECTORY"),
    ("State", "/var/lib", "STATE_DIRECTORY"),
    ("Cache", "/var/cache", "CACHE_DIRECTORY"),
    ("Logs", "/var/log", "LOGS_DIRECTORY"),
    ("Configuration", "/etc", "CONFIGURATION_DIRECTORY"),
];

/// Folders of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folders {
    /// Below the kind's parent.
    pub paths: Vec<String>,
    /// Their mode.
    pub mode: u32,
}

impl Default for Folders {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            mode: 0o755,
        }
    }
}

/// When runtime folders outlive the service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preserve {
    /// Removed when it stops.
    #[default]
    No,
    /// Kept over a restart.
    Restart,
    /// Kept.
    Yes,
}

/// Folders made for a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directories {
    /// In the order of the kinds: runtime, state, cache, logs, configuration.
    pub kinds: [Folders; 5],
    /// RuntimeDirectoryPreserve=.
    pub preserve: Preserve,
}

const fn folders(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "PATH...",
        documentation,
        support: Support::Must(add),
    }
}

const fn mode(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "MODE",
        documentation,
        support: Support::Must(set_mode),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    folders(
        "RuntimeDirectory",
        "Folders below /run, made for the service's user, removed when it stops.",
    ),
    mode("RuntimeDirectoryMode", "Mode of the runtime folders; 0755."),
    folders(
        "StateDirectory",
        "Folders below /var/lib, made for the service's user.",
    ),
    mode("StateDirectoryMode", "Mode of the state folders; 0755."),
    folders(
        "CacheDirectory",
        "Folders below /var/cache, made for the service's user.",
    ),
    mode("CacheDirectoryMode", "Mode of the cache folders; 0755."),
    folders(
        "LogsDirectory",
        "Folders below /var/log, made for the service's user.",
    ),
    mode("LogsDirectoryMode", "Mode of the log folders; 0755."),
    folders(
        "ConfigurationDirectory",
        "Folders below /etc; owned by root.",
    ),
    mode(
        "ConfigurationDirectoryMode",
        "Mode of the configuration folders; 0755.",
    ),
    Directive {
        section: "Service",
        name: "RuntimeDirectoryPreserve",
        value: "no|restart|yes",
        documentation: "When runtime folders outlive the service.",
        support: Support::Set(set_preserve),
    },
];

fn kind<'a>(unit: &'a mut Unit, name: &str) -> Result<&'a mut Folders, String> {
    let position = KINDS
        .iter()
        .position(|(kind, ..)| name.starts_with(kind))
        .ok_or("is not a kind of folder")?;
    unit.service
        .directories
        .kinds
        .get_mut(position)
        .ok_or_else(|| "is not a kind of folder".into())
}

fn add(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let folders = kind(unit, value.name)?;
    if value.is_reset() {
        folders.paths.clear();
    }
    for word in value.words()? {
        // "path:link" asks for a link too, which nothing on a node needs.
        let path = value::path(&format!("/{word}"))
            .ok()
            .filter(|path| path.len() > 1 && !word.contains(':'));
        let path = path.ok_or_else(|| format!("{word:?} is not a relative path without \"..\""))?;
        folders.paths.push(path);
    }
    Ok(())
}

fn set_mode(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    kind(unit, value.name)?.mode = value::mode(value.text)?;
    Ok(())
}

fn set_preserve(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.directories.preserve = match value.text {
        "restart" => Preserve::Restart,
        text if value::boolean(text)? => Preserve::Yes,
        _ => Preserve::No,
    };
    Ok(())
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let (uid, gid) = super::identity::numbers_of(planning)?;
    let directories = &planning.unit.service.directories;
    for ((kind, parent, variable), folders) in KINDS.iter().zip(&directories.kinds) {
        let paths: Vec<String> = folders
            .paths
            .iter()
            .map(|path| format!("{parent}{path}"))
            .collect();
        if paths.is_empty() {
            continue;
        }
        let (uid, gid) = if *kind == "Configuration" {
            (0, 0)
        } else {
            (uid, gid)
        };
        let remove = *kind == "Runtime" && directories.preserve != Preserve::Yes;
        let folder = |path: &String| plan::Directory {
            path: path.clone(),
            mode: folders.mode,
            uid,
            gid,
            remove,
        };
        plan.directories.extend(paths.iter().map(folder));
        plan.environment
            .insert(variable.to_string(), paths.join(":"));
    }
    Ok(())
}
