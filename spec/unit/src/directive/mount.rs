//! `ReadOnlyPaths=`, `BindPaths=`, `TemporaryFileSystem=` and their like: what a service sees of the file system,
//! systemd.exec(5) "Sandboxing".

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::plan::{Content, ExecPlan, Mounts};
use crate::unit::Unit;
use crate::value;

mod merge;

pub use merge::Entry;

/// What a service sees of the file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSettings {
    /// ReadWritePaths=.
    pub read_write: Vec<ListedPath>,
    /// ReadOnlyPaths=.
    pub read_only: Vec<ListedPath>,
    /// InaccessiblePaths=.
    pub inaccessible: Vec<ListedPath>,
    /// ExecPaths=.
    pub exec: Vec<ListedPath>,
    /// NoExecPaths=.
    pub no_exec: Vec<ListedPath>,
    /// BindPaths= and BindReadOnlyPaths=.
    pub binds: Vec<Bind>,
    /// TemporaryFileSystem=.
    pub temporary: Vec<Temporary>,
    /// PrivateMounts=, if given.
    pub private: Option<bool>,
    /// MountFlags=, if given.
    pub propagation: Option<Propagation>,
}

/// One path of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedPath {
    /// Absolute.
    pub path: String,
    /// `-`: it may be missing.
    pub missing_ok: bool,
    /// `+`: it is below RootDirectory=, and not a path of the node.
    pub in_root: bool,
}

impl ListedPath {
    /// The path as the service sees it. As in systemd one of the node is seen from within another root only where that
    /// root is around it.
    fn within(&self, root: &Mounts) -> Option<&str> {
        if self.in_root || !root.has_root() {
            return Some(&self.path);
        }
        match self.path.strip_prefix(root.root.as_deref()?)? {
            "" => Some("/"),
            rest => Some(rest).filter(|rest| rest.starts_with('/')),
        }
    }
}

/// One path that is mounted elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// What.
    pub source: String,
    /// Where.
    pub target: String,
    /// With what is mounted in it.
    pub recursive: bool,
    /// It cannot be written there.
    pub read_only: bool,
    /// `-`: the source may be missing.
    pub missing_ok: bool,
}

/// One empty file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Temporary {
    /// Where.
    pub path: String,
    /// Options for tmpfs(5).
    pub options: String,
    /// `ro`.
    pub read_only: bool,
    /// `noexec`.
    pub no_exec: bool,
}

/// MountFlags=.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// Mounts of the service reach nobody; PID 1's reach it.
    Slave,
    /// Neither way.
    Private,
}

const fn paths(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "[-][+]PATH...",
        documentation,
        support: Support::Confine(add_paths),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    paths(
        "ReadWritePaths",
        "Paths that can be written within what is read-only.",
    ),
    paths("ReadOnlyPaths", "Paths that cannot be written."),
    paths(
        "InaccessiblePaths",
        "Paths in whose place an empty file or folder is, which cannot be opened.",
    ),
    paths(
        "ExecPaths",
        "Paths that can be executed within NoExecPaths=.",
    ),
    paths("NoExecPaths", "Paths whose files cannot be executed."),
    paths(
        "ReadWriteDirectories",
        "Deprecated: ReadWritePaths=, with which it is one list.",
    ),
    paths(
        "ReadOnlyDirectories",
        "Deprecated: ReadOnlyPaths=, with which it is one list.",
    ),
    paths(
        "InaccessibleDirectories",
        "Deprecated: InaccessiblePaths=, with which it is one list.",
    ),
    Directive {
        section: "Service",
        name: "BindPaths",
        value: "[-]SOURCE[:TARGET[:rbind|norbind]]...",
        documentation: "Files and folders seen at another path.",
        support: Support::Confine(add_binds),
    },
    Directive {
        section: "Service",
        name: "BindReadOnlyPaths",
        value: "[-]SOURCE[:TARGET[:rbind|norbind]]...",
        documentation: "The same, and they cannot be written there.",
        support: Support::Confine(add_binds),
    },
    Directive {
        section: "Service",
        name: "TemporaryFileSystem",
        value: "PATH[:OPTIONS]...",
        documentation: "Paths in whose place an empty tmpfs is; options as in tmpfs(5), and ro, noexec.",
        support: Support::Confine(add_temporary),
    },
    Directive {
        section: "Service",
        name: "PrivateMounts",
        value: "BOOLEAN",
        documentation: "What it mounts, nobody else sees.",
        support: Support::Confine(set_private),
    },
    Directive {
        section: "Service",
        name: "MountFlags",
        value: "slave|private",
        documentation: "Deprecated: PrivateMounts=; with private, mounts of the node do not reach it either.",
        support: Support::Confine(set_flags),
    },
];

fn list<'a>(settings: &'a mut MountSettings, name: &str) -> &'a mut Vec<ListedPath> {
    match name {
        "ReadWritePaths" | "ReadWriteDirectories" => &mut settings.read_write,
        "ReadOnlyPaths" | "ReadOnlyDirectories" => &mut settings.read_only,
        "InaccessiblePaths" | "InaccessibleDirectories" => &mut settings.inaccessible,
        "ExecPaths" => &mut settings.exec,
        _ => &mut settings.no_exec,
    }
}

fn add_paths(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let list = list(&mut unit.service.mounts, value.name);
    if value.is_reset() {
        list.clear();
    }
    for word in value.words()? {
        let (text, missing_ok) = optional(&word);
        let (text, in_root) = text
            .strip_prefix('+')
            .map_or((text, false), |text| (text, true));
        list.push(ListedPath {
            path: value::path(text)?,
            missing_ok,
            in_root,
        });
    }
    Ok(())
}

/// A word, and whether it had the `-` of what may be missing.
fn optional(word: &str) -> (&str, bool) {
    word.strip_prefix('-')
        .map_or((word, false), |word| (word, true))
}

fn add_binds(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let read_only = value.name == "BindReadOnlyPaths";
    let binds = &mut unit.service.mounts.binds;
    if value.is_reset() {
        // As in systemd, either of the two forgets what both have listed.
        binds.clear();
    }
    for word in value.words()? {
        let (text, missing_ok) = optional(&word);
        let mut parts = text.splitn(3, ':');
        let source = value::path(parts.next().unwrap_or_default())?;
        let target = match parts.next() {
            None | Some("") => source.clone(),
            Some(target) => value::path(target)?,
        };
        let recursive = match parts.next() {
            None | Some("" | "rbind") => true,
            Some("norbind") => false,
            Some(option) => return Err(format!("{option:?} is not rbind or norbind")),
        };
        binds.push(Bind {
            source,
            target,
            recursive,
            read_only,
            missing_ok,
        });
    }
    Ok(())
}

fn add_temporary(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let list = &mut unit.service.mounts.temporary;
    if value.is_reset() {
        list.clear();
    }
    for word in value.words()? {
        let (path, options) = word.split_once(':').unwrap_or((&word, ""));
        list.push(temporary(value::path(path)?, options)?);
    }
    Ok(())
}

/// Options that a tmpfs takes from a unit; the rest are flags of the mount.
const TMPFS: [&str; 6] = ["size", "nr_blocks", "nr_inodes", "mode", "uid", "gid"];

pub(super) fn temporary(path: String, options: &str) -> Result<Temporary, String> {
    let (mut read_only, mut no_exec) = (false, false);
    let mut kept = vec!["mode=0755", "size=10%", "nr_inodes=400k"];
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "noexec" => no_exec = true,
            "exec" => no_exec = false,
            // What it is mounted with in any case, or what changes nothing that is promised.
            "nodev" | "nosuid" | "strictatime" | "relatime" | "noatime" | "noswap" => {}
            _ if TMPFS.contains(&option.split('=').next().unwrap_or_default()) => {
                kept.push(option);
            }
            _ => return Err(format!("{option:?} is not an option of a tmpfs")),
        }
    }
    Ok(Temporary {
        path,
        options: kept.join(","),
        read_only,
        no_exec,
    })
}

fn set_private(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.mounts.private = match value.is_reset() {
        true => None,
        false => Some(value::boolean(value.text)?),
    };
    Ok(())
}

fn set_flags(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.mounts.propagation = match value.text {
        "" => None,
        "slave" => Some(Propagation::Slave),
        "private" => Some(Propagation::Private),
        other => return Err(format!("{other:?} is not slave or private")),
    };
    Ok(())
}

/// What the unit's own lists show elsewhere or keep writable: it holds for a command with `+` too, as in systemd.
fn shown(settings: &MountSettings, root: &Mounts) -> Vec<Entry> {
    let mut entries = of_list(&settings.read_write, root, Entry::read_write);
    entries.extend(settings.binds.iter().map(|bind| {
        let entry = Entry::bind(&bind.source, &bind.target, bind.recursive);
        let entry = if bind.read_only {
            entry.unwritable()
        } else {
            entry
        };
        entry.missing_ok(bind.missing_ok)
    }));
    entries.extend(settings.temporary.iter().map(|temporary| Entry {
        read_only: Some(temporary.read_only),
        no_exec: temporary.no_exec.then_some(true),
        ..Entry::new(
            &temporary.path,
            Content::Tmpfs {
                options: temporary.options.clone(),
            },
        )
    }));
    entries
}

/// What the unit's own lists close.
fn closed(settings: &MountSettings, root: &Mounts) -> Vec<Entry> {
    let mut entries = of_list(&settings.read_only, root, Entry::read_only);
    entries.extend(of_list(&settings.inaccessible, root, Entry::inaccessible));
    entries.extend(of_list(&settings.exec, root, Entry::exec));
    entries.extend(of_list(&settings.no_exec, root, Entry::no_exec));
    entries
}

fn of_list(list: &[ListedPath], root: &Mounts, entry: fn(&str) -> Entry) -> Vec<Entry> {
    let seen = list.iter().filter_map(|listed| {
        let path = listed.within(root)?;
        Some(entry(path).missing_ok(listed.missing_ok))
    });
    seen.collect()
}

/// Comes after folders and credentials: what is made for a service stays within its reach. As in systemd a command with
/// `+` is in the same root and sees the same folders elsewhere, in a table of mounts of its own, without the walls.
pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let service = &planning.unit.service;
    service.root.give(planning, plan);
    let rooted = plan.mounts.has_root();
    let mut entries = shown(&service.mounts, &plan.mounts);
    // Before the walls: of two at one place the first holds.
    entries.extend(super::image::entries(planning));
    let mut walls = closed(&service.mounts, &plan.mounts);
    walls.extend(super::protect::entries(planning));
    walls.extend(super::root::entries(planning, plan));
    let walled = !walls.is_empty();
    if !planning.command.privileged {
        entries.extend(walls);
    }
    entries.extend(super::directory::entries(planning, plan, rooted));
    if !rooted {
        entries.iter_mut().for_each(Entry::straighten);
    }
    plan.mounts.list = merge::merge(entries);
    plan.mounts.private = service.mounts.private == Some(true)
        || service.mounts.propagation == Some(Propagation::Slave)
        || super::protect::wants_mounts(planning)
        || walled && planning.command.privileged;
    plan.mounts.isolated = service.mounts.propagation == Some(Propagation::Private);
    Ok(())
}

#[cfg(test)]
mod tests;
