//! What a child does to itself between clone and exec, one thing at a time.

use std::ffi::{CString, c_int};
use std::os::fd::RawFd;

use spec_unit::seccomp::Instruction;

use super::exec::Exec;

/// errno of a failed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) i32);

/// One thing a child does to itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Unblock all signals; ignore SIGPIPE or not.
    Signals { ignore_pipe: bool },
    /// setsid(2).
    Session,
    /// Text for oom_score_adj.
    OomScore(Vec<u8>),
    /// setrlimit(2).
    Limit { resource: u32, soft: u64, hard: u64 },
    /// setpriority(2).
    Nice(i32),
    /// Open a file as a standard stream.
    Open {
        path: CString,
        flags: c_int,
        to: RawFd,
    },
    /// Open a terminal as a standard stream, and make it the session's.
    Terminal { path: CString, to: RawFd },
    /// Connect a standard stream to the journal.
    Journal {
        path: CString,
        header: Vec<u8>,
        to: RawFd,
    },
    /// dup2(2).
    Duplicate { from: RawFd, to: RawFd },
    /// Make a folder, and give it to an owner.
    Directory {
        path: CString,
        mode: u32,
        owner: Option<(u32, u32)>,
    },
    /// setns(2).
    Namespace { fd: RawFd, kind: c_int },
    /// Make a detached mount the root.
    Root { fd: RawFd },
    /// personality(2).
    Personality(u32),
    /// umask(2).
    Umask(u32),
    /// Take a capability out of the bounding set.
    Bound(u32),
    /// setgroups(2).
    Groups(Vec<u32>),
    /// setresgid(2).
    Gid(u32),
    /// setresuid(2), keeping the permitted capabilities or not.
    Uid { uid: u32, keep: bool },
    /// capset(2): permitted and effective, and inheritable.
    Capabilities { permitted: u64, inheritable: u64 },
    /// Raise an ambient capability.
    Ambient(u32),
    /// chdir(2).
    WorkingDirectory { path: CString, missing_ok: bool },
    /// PR_SET_NO_NEW_PRIVS.
    NoNewPrivileges,
    /// Close all descriptors from this one on at exec.
    CloseFrom(i32),
    /// PR_SET_MDWE; this filter where the kernel does not have it.
    DenyWriteExecute(Vec<Instruction>),
    /// seccomp(2): the filter of all calls from here on.
    Filter(Vec<Instruction>),
    /// execve(2).
    Exec(Exec),
}

impl Step {
    /// What people and systemd's exit codes call it.
    pub(super) fn name_and_code(&self) -> (&'static str, i32) {
        match self {
            Self::Signals { .. } => ("signals", 207),
            Self::Session => ("session", 220),
            Self::OomScore(_) => ("OOMScoreAdjust", 206),
            Self::Limit { .. } => ("limits", 205),
            Self::Nice(_) => ("Nice", 201),
            Self::Open { to: 0, .. } | Self::Terminal { to: 0, .. } => ("standard input", 208),
            Self::Open { to: 2, .. } | Self::Terminal { to: 2, .. } => ("standard error", 222),
            Self::Open { .. } | Self::Terminal { .. } | Self::Journal { .. } => {
                ("standard output", 209)
            }
            Self::Duplicate { .. } => ("file descriptors", 202),
            Self::Directory { .. } => ("folders", 233),
            Self::Namespace { .. } => ("namespaces", 226),
            Self::Root { .. } => ("root folder", 210),
            Self::Personality(_) => ("Personality", 230),
            // It cannot fail, and systemd has no number for it.
            Self::Umask(_) => ("UMask", 1),
            Self::Bound(_) | Self::Capabilities { .. } | Self::Ambient(_) => ("capabilities", 218),
            Self::Groups(_) | Self::Gid(_) => ("groups", 216),
            Self::Uid { .. } => ("user", 217),
            Self::WorkingDirectory { .. } => ("WorkingDirectory", 200),
            Self::NoNewPrivileges => ("NoNewPrivileges", 227),
            Self::CloseFrom(_) => ("file descriptors", 202),
            Self::DenyWriteExecute(_) => ("MemoryDenyWriteExecute", 228),
            Self::Filter(_) => ("system call filter", 228),
            Self::Exec(_) => ("execution", 203),
        }
    }
}

/// What carries steps out: the kernel, or a test that writes them down.
pub(crate) trait Syscall {
    /// Carries one step out.
    fn call(&mut self, step: &mut Step) -> Result<(), Failure>;
}

/// Carries the steps out in order; on failure, the number of the one that failed.
pub(crate) fn perform(sys: &mut impl Syscall, steps: &mut [Step]) -> Result<(), (u32, Failure)> {
    for (number, step) in steps.iter_mut().enumerate() {
        sys.call(step).map_err(|failure| (number as u32, failure))?;
    }
    Ok(())
}
