//! `RuntimeDirectory=`, `StateDirectory=` and their like: folders made for a service.

use serde::{Deserialize, Serialize};

use super::mount::Entry;
use super::{Directive, Planning, Support, Value};
use crate::plan::{self, Content, ExecPlan};
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

impl Directories {
    /// All of them, as paths.
    pub fn paths(&self) -> impl Iterator<Item = String> + '_ {
        let kinds = KINDS.iter().zip(&self.kinds);
        kinds.flat_map(|((_, parent, _), folders)| {
            let paths = folders.paths.iter();
            paths.map(move |path| format!("{parent}{path}"))
        })
    }
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
        if path
            .as_deref()
            .is_some_and(|path| path.split('/').nth(1) == Some("private"))
        {
            return Err("\"private\" is where folders of users made up for one run are".into());
        }
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

fn of_kind(kind: &str) -> plan::DirectoryKind {
    match kind {
        "State" => plan::DirectoryKind::State,
        "Cache" => plan::DirectoryKind::Cache,
        "Logs" => plan::DirectoryKind::Logs,
        "Configuration" => plan::DirectoryKind::Configuration,
        _ => plan::DirectoryKind::Runtime,
    }
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let (uid, gid) = super::identity::numbers_of(planning)?;
    let directories = &planning.unit.service.directories;
    for ((kind, parent, variable), folders) in KINDS.iter().zip(&directories.kinds) {
        if folders.paths.is_empty() {
            continue;
        }
        let (uid, gid) = if *kind == "Configuration" {
            (0, 0)
        } else {
            (uid, gid)
        };
        let remove = *kind == "Runtime" && directories.preserve != Preserve::Yes;
        let is_private = planning.unit.service.identity.dynamic
            && *kind != "Configuration"
            && !(*kind == "Runtime" && directories.preserve == Preserve::No);
        let may_move = !remove && *kind != "Configuration";
        let folder = |path: &String| {
            let (plain, hidden) = (format!("{parent}{path}"), format!("{parent}/private{path}"));
            let (path, other) = match is_private {
                true => (hidden, plain),
                false => (plain, hidden),
            };
            plan::Directory {
                kind: of_kind(kind),
                path,
                mode: folders.mode,
                uid,
                gid,
                remove,
                other: may_move.then_some(other),
                link: is_private,
            }
        };
        let folders: Vec<plan::Directory> = folders.paths.iter().map(folder).collect();
        // Of a user made up for one run too it is told by its link, as under systemd.
        let told = |folder: &plan::Directory| match (&folder.other, folder.link) {
            (Some(link), true) => link.clone(),
            _ => folder.path.clone(),
        };
        let paths: Vec<String> = folders.iter().map(told).collect();
        plan.environment
            .insert(variable.to_string(), paths.join(":"));
        plan.directories.extend(folders);
    }
    Ok(())
}

/// The folders of a service stay writable to it; those of a user made up for one run are reached through a folder that
/// is closed to all others.
pub(super) fn entries(planning: &Planning<'_>, plan: &ExecPlan, rooted: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    for folder in plan
        .directories
        .iter()
        .filter(|folder| is_of_unit(planning, folder))
    {
        if !folder.link && !rooted {
            entries.push(Entry::read_write(&folder.path).missing_ok(true));
            continue;
        }
        entries.push(Entry::bind(&folder.path, &folder.path, true));
        let around = folder.path.find("/private/").filter(|_| folder.link);
        if let Some(parent) = around.and_then(|end| folder.path.get(..end)) {
            let options = "mode=0755".into();
            let hidden = format!("{parent}/private");
            entries.push(Entry::new(&hidden, Content::Tmpfs { options }).unwritable());
        }
        if let (Some(other), true) = (&folder.other, folder.link && rooted) {
            entries.push(Entry::bind(&folder.path, other, true));
        }
    }
    entries
}

/// Whether a folder is one that the unit names, and not one of its walls.
fn is_of_unit(planning: &Planning<'_>, folder: &plan::Directory) -> bool {
    let kinds = KINDS.iter().zip(&planning.unit.service.directories.kinds);
    kinds
        .filter(|((kind, ..), _)| *kind != "Configuration")
        .any(|((_, parent, _), folders)| {
            let mut named = folders.paths.iter();
            named.any(|path| {
                folder.path == format!("{parent}{path}")
                    || folder.path == format!("{parent}/private{path}")
            })
        })
}
