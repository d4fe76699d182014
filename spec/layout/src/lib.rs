//! What stands where on a Bedplate node: disk, folders, ports, numbers.
//!
//! Everything here is expensive to change once a fleet runs it, so each on-disk thing carries a version.
//! Pure: no I/O, no syscalls.

pub mod address;
pub mod boot_report;
pub mod command_line;
pub mod disk;
pub mod glob;
pub mod gpt;
pub mod image;
pub mod modules;
pub mod number;
pub mod path;
pub mod port;
pub mod slice;
pub mod tmpfiles;
pub mod verity;

/// Version of the state partition's folder layout, written to [`path::STATE_LAYOUT`].
pub const LAYOUT_VERSION: u32 = 1;
