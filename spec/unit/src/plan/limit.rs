//! Resource limits of a child.

use serde::{Deserialize, Serialize};

/// One setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// What is limited.
    pub resource: Resource,
    /// Soft limit; [`u64::MAX`] is infinity.
    pub soft: u64,
    /// Hard limit; [`u64::MAX`] is infinity.
    pub hard: u64,
}

/// The kernel's resource limits, numbered as in `<asm-generic/resource.h>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u32)]
pub enum Resource {
    /// RLIMIT_CPU, seconds.
    Cpu = 0,
    /// RLIMIT_FSIZE, bytes.
    Fsize = 1,
    /// RLIMIT_DATA, bytes.
    Data = 2,
    /// RLIMIT_STACK, bytes.
    Stack = 3,
    /// RLIMIT_CORE, bytes.
    Core = 4,
    /// RLIMIT_RSS, bytes.
    Rss = 5,
    /// RLIMIT_NPROC.
    Nproc = 6,
    /// RLIMIT_NOFILE.
    Nofile = 7,
    /// RLIMIT_MEMLOCK, bytes.
    Memlock = 8,
    /// RLIMIT_AS, bytes.
    As = 9,
    /// RLIMIT_LOCKS.
    Locks = 10,
    /// RLIMIT_SIGPENDING.
    Sigpending = 11,
    /// RLIMIT_MSGQUEUE, bytes.
    Msgqueue = 12,
    /// RLIMIT_NICE.
    Nice = 13,
    /// RLIMIT_RTPRIO.
    Rtprio = 14,
    /// RLIMIT_RTTIME, microseconds.
    Rttime = 15,
}
