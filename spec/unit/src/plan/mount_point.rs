//! [`MountCall`]: what a mount unit becomes: system calls, as plain data.
//!
//! Source: mount(2), mount(8).

use serde::{Deserialize, Serialize};

/// `MS_RDONLY`.
pub const READ_ONLY: u32 = 1;
/// `MS_NOSUID`.
pub const NO_SUID: u32 = 2;
/// `MS_NODEV`.
pub const NO_DEV: u32 = 4;
/// `MS_NOEXEC`.
pub const NO_EXEC: u32 = 8;
/// `MS_REMOUNT`.
pub const REMOUNT: u32 = 32;
/// `MS_BIND`.
pub const BIND: u32 = 1 << 12;
/// `MS_MOVE`.
pub const MOVE: u32 = 1 << 13;
/// `MS_REC`.
pub const RECURSIVE: u32 = 1 << 14;
/// What the kernel takes for one file system: a page, with the NUL at its end.
pub const MAX_DATA: usize = 4095;

/// A mount. It comes from a unit file alone: no client can send one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MountCall {
    /// What is mounted: a device node, a folder, or a word that the file system understands.
    pub what: String,
    /// Where, an absolute path.
    pub target: String,
    /// Type of the file system; none is found out.
    pub kind: Option<String>,
    /// `MS_*` of mount(2), without those of propagation.
    pub flags: u32,
    /// `MS_SHARED` and its like, each by a call of its own afterwards.
    pub propagation: Vec<u32>,
    /// Options for the file system itself, with commas.
    pub data: String,
    /// Mode of folders made on the way to the target.
    pub mode: u32,
    /// Fails where only reading is possible, instead of mounting read-only.
    pub read_write_only: bool,
}
