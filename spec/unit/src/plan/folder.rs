//! Folders of a child: where it runs, what is made for it.

use serde::{Deserialize, Serialize};

/// chdir(2) before exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkingDirectory {
    /// Absolute path.
    pub path: String,
    /// A missing folder is no error: `/` is taken.
    #[serde(default)]
    pub missing_ok: bool,
}

/// Which directive a folder is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryKind {
    /// RuntimeDirectory=.
    #[default]
    Runtime,
    /// StateDirectory=.
    State,
    /// CacheDirectory=.
    Cache,
    /// LogsDirectory=.
    Logs,
    /// ConfigurationDirectory=.
    Configuration,
    /// PrivateTmp=.
    PrivateTmp,
}

/// A folder made before the program runs. One that is there and has another owner is given to this one with all that
/// is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Which directive asks for it.
    #[serde(default)]
    pub kind: DirectoryKind,
    /// Absolute path; parents are made with mode 0755 and owner root.
    pub path: String,
    /// Its mode.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Removed when the unit has stopped.
    #[serde(default)]
    pub remove: bool,
    /// Its other place, in the folder `private` beside it or one up from that: where it stands while its unit has a
    /// user made up for one run, or while it has not.
    #[serde(default)]
    pub other: Option<String>,
    /// A symbolic link to it is left at its other place.
    #[serde(default)]
    pub link: bool,
}
