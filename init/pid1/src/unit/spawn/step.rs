//! What a child does to itself between clone and exec, one thing at a time.

use std::ffi::{CStr, CString, c_int};
use std::os::fd::RawFd;

use spec_unit::plan::{DirectoryKind, Taken};
use spec_unit::seccomp::Instruction;

use super::exec::Exec;

/// errno of a failed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) i32);

/// A path as the folder and the name in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    /// Absolute path of the folder.
    pub(crate) folder: CString,
    /// The name in it.
    pub(crate) name: CString,
}

/// A folder to be made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Folder {
    /// Which directive it is of.
    pub(crate) kind: DirectoryKind,
    /// Where.
    pub(crate) path: Path,
    /// Its mode.
    pub(crate) mode: u32,
    /// Who it is given to; none leaves one that is there.
    pub(crate) owner: Option<(u32, u32)>,
    /// All that is in it gets that owner too.
    pub(crate) with_content: bool,
    /// Where it may stand instead, and is brought from.
    pub(crate) other: Option<Path>,
    /// Target of the link that is left there.
    pub(crate) link: Option<CString>,
}

/// A file system to be made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewFileSystem {
    /// Its type, as fsopen(2) takes it.
    pub(crate) kind: CString,
    /// Its options; one without a value is a flag.
    pub(crate) options: Vec<(CString, Option<CString>)>,
    /// It is to hold the devices that harm nobody.
    pub(crate) devices: bool,
}

/// What a credential holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CredentialText {
    /// These bytes.
    Given(Vec<u8>),
    /// What is in the first file that is there.
    Files {
        paths: Vec<CString>,
        missing_ok: bool,
    },
}

/// Attributes of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// MOUNT_ATTR_RDONLY.
    pub(crate) read_only: bool,
    /// MOUNT_ATTR_NOEXEC.
    pub(crate) no_exec: bool,
}

/// One thing a child does to itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Unblock all signals; ignore SIGPIPE or not.
    Signals { ignore_pipe: bool },
    /// Wait until this descriptor says that no job is left, at most a few seconds.
    Idle(RawFd),
    /// setsid(2).
    Session,
    /// Text for oom_score_adj.
    OomScore(Vec<u8>),
    /// setrlimit(2).
    Limit { resource: u32, soft: u64, hard: u64 },
    /// Text for coredump_filter.
    CoredumpFilter(Vec<u8>),
    /// sched_setscheduler(2).
    CpuScheduling { policy: c_int, priority: c_int },
    /// setpriority(2).
    Nice(i32),
    /// sched_setaffinity(2): one bit a processor.
    CpuAffinity(Vec<u64>),
    /// set_mempolicy(2): one bit a memory node; with `all`, room for as many as there are.
    NumaPolicy {
        mode: c_int,
        nodes: Vec<u64>,
        all: bool,
    },
    /// ioprio_set(2): class and priority in one.
    IoPriority(c_int),
    /// PR_SET_TIMERSLACK.
    TimerSlack(u64),
    /// Make a terminal ready.
    TerminalSetup(TerminalSetup),
    /// Open a file as a standard stream.
    Open {
        path: CString,
        flags: c_int,
        to: RawFd,
    },
    /// Open a terminal as a standard stream, and make it the session's.
    Terminal {
        path: CString,
        taken: Taken,
        to: RawFd,
    },
    /// Bytes to be read as a standard stream.
    Data { bytes: Vec<u8>, to: RawFd },
    /// Connect a standard stream to the journal.
    Journal {
        path: CString,
        header: Vec<u8>,
        kmsg: bool,
        to: RawFd,
    },
    /// Make the terminal on standard input the session's, and give it to this user.
    SessionTerminal { uid: u32 },
    /// Into a slot of its own a file that the program is handed open.
    OpenFile {
        slot: usize,
        path: CString,
        flags: c_int,
    },
    /// dup2(2) of what is in such a slot.
    PlaceFile { slot: usize, to: RawFd },
    /// dup2(2).
    Duplicate { from: RawFd, to: RawFd },
    /// Make a folder, and give it to an owner.
    Directory(Folder),
    /// Join a session keyring of its own.
    Keyring(SessionKeyring),
    /// setns(2).
    Namespace { fd: RawFd, kind: c_int },
    /// unshare(2).
    Unshare(c_int),
    /// setns(2) to what a file refers to.
    Join { path: CString, kind: c_int },
    /// Send PID 1 a namespace of this process.
    TellNamespace { path: CString, letter: u8 },
    /// Bring the loopback link up.
    Loopback,
    /// Make a user namespace with these maps, to be entered later.
    Users { uid: Vec<u8>, gid: Vec<u8> },
    /// Keep a user namespace that was handed over, to be entered later.
    HandedUsers(RawFd),
    /// Enter the user namespace.
    EnterUsers,
    /// A mount namespace.
    OwnMounts { isolated: bool },
    /// open_tree(2) into a slot.
    Tree {
        slot: usize,
        path: CString,
        recursive: bool,
        missing_ok: bool,
    },
    /// Into a slot a detached mount that was handed over; what is mounted in it reaches nobody else.
    Handed {
        slot: usize,
        fd: RawFd,
        isolated: bool,
    },
    /// mount_setattr(2): what is in a slot shows owners as the user namespace numbers them.
    IdMap { slot: usize },
    /// Into a slot what is in a disk image, opened by `init image REQUEST`.
    Image {
        slot: usize,
        path: CString,
        arguments: [CString; 3],
        missing_ok: bool,
    },
    /// Into a slot what cannot be opened, of the kind that is at the path within the root in another slot, or PID 1's.
    Inaccessible {
        slot: usize,
        root: Option<usize>,
        path: CString,
        nodes: [CString; 4],
        missing_ok: bool,
    },
    /// fsmount(2) into a slot.
    NewFileSystem { slot: usize, new: NewFileSystem },
    /// Write a credential into the file system in a slot.
    Credential {
        slot: usize,
        name: CString,
        uid: u32,
        text: CredentialText,
    },
    /// Give the folder of credentials in a slot to its user.
    GiveCredentials { slot: usize, uid: u32 },
    /// Make what is in a slot the root.
    Root { slot: usize },
    /// Make what a slot can be mounted on, where nothing is.
    MountPoint {
        slot: usize,
        parents: Vec<CString>,
        path: CString,
    },
    /// move_mount(2) of what is in a slot.
    Attach {
        slot: usize,
        path: CString,
        attributes: Attributes,
        missing_ok: bool,
    },
    /// mount_setattr(2) of what is mounted at a path.
    Attributes {
        path: CString,
        attributes: Attributes,
    },
    /// mount_setattr(2): the file system mounted at a path becomes read-only, and nothing that is mounted in it.
    ReadOnly { path: CString },
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
    /// capset(2): inheritable besides what is so already.
    Inheritable(u64),
    /// Raise an ambient capability.
    Ambient(u32),
    /// chdir(2).
    WorkingDirectory { path: CString, missing_ok: bool },
    /// PR_SET_SECUREBITS.
    SecureBits(u32),
    /// PR_SET_NO_NEW_PRIVS.
    NoNewPrivileges,
    /// Close all descriptors from this one on at exec.
    CloseFrom(i32),
    /// PR_SET_MDWE; this filter where the kernel does not have it.
    DenyWriteExecute(Vec<Instruction>),
    /// seccomp(2): the filter of all calls from here on.
    Filter(Vec<Instruction>),
    /// Tell PID 1 that all but the filter and the program is done.
    Ready,
    /// execve(2).
    Exec(Exec),
}

/// How a terminal is made ready.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TerminalSetup {
    /// Its path.
    pub(crate) path: CString,
    /// Its number, if it is a virtual one.
    pub(crate) number: Option<c_int>,
    /// Its modes are set to sane ones.
    pub(crate) reset: bool,
    /// vhangup(2) on it.
    pub(crate) hang_up: bool,
    /// It is freed or cleared.
    pub(crate) disallocate: bool,
    /// Its lines, or 0.
    pub(crate) rows: u16,
    /// Its columns, or 0.
    pub(crate) columns: u16,
}

/// A session keyring.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SessionKeyring {
    /// Whose it is.
    pub(crate) uid: u32,
    /// The group whose it is.
    pub(crate) gid: u32,
    /// The user's own is linked into it.
    pub(crate) shared: bool,
    /// What `invocation_id` in it holds.
    pub(crate) invocation: Option<[u8; 16]>,
}

impl Step {
    /// What people call it and what it is about, in parts of one line: for a child, which cannot allocate.
    pub(crate) fn told(&self) -> [&[u8]; 5] {
        let (name, _) = self.name_and_code();
        let name = name.as_bytes();
        match (self, self.path()) {
            (Self::Directory(Folder { path, .. }), _) => {
                let folder = path.folder.to_bytes();
                let folder = folder.strip_suffix(b"/").unwrap_or(folder);
                [name, b" ", folder, b"/", path.name.to_bytes()]
            }
            (_, Some(path)) => [name, b" ", path.to_bytes(), b"", b""],
            (_, None) => [name, b"", b"", b"", b""],
        }
    }

    /// The one path that it is about.
    fn path(&self) -> Option<&CStr> {
        match self {
            Self::TerminalSetup(TerminalSetup { path, .. })
            | Self::Open { path, .. }
            | Self::Terminal { path, .. }
            | Self::OpenFile { path, .. }
            | Self::Join { path, .. }
            | Self::Tree { path, .. }
            | Self::Image { path, .. }
            | Self::Inaccessible { path, .. }
            | Self::MountPoint { path, .. }
            | Self::Attach { path, .. }
            | Self::Attributes { path, .. }
            | Self::ReadOnly { path }
            | Self::WorkingDirectory { path, .. } => Some(path),
            Self::Credential { name, .. } => Some(name),
            _ => None,
        }
    }

    /// What it is about, and systemd's exit code for it: systemd.exec(5), "Process Exit Codes".
    pub(crate) fn name_and_code(&self) -> (&'static str, i32) {
        match self {
            Self::Signals { .. } => ("signals", 207),
            // These two cannot fail.
            Self::Idle(_) => ("idle", 1),
            Self::TerminalSetup(_) => ("terminal", 208),
            Self::Session => ("session", 220),
            Self::OomScore(_) => ("OOMScoreAdjust", 206),
            Self::Limit { .. } => ("limits", 205),
            Self::CoredumpFilter(_) => ("CoredumpFilter", 205),
            Self::CpuScheduling { .. } => ("CPUSchedulingPolicy", 214),
            Self::Nice(_) => ("Nice", 201),
            Self::CpuAffinity(_) => ("CPUAffinity", 215),
            Self::NumaPolicy { .. } => ("NUMAPolicy", 242),
            Self::IoPriority(_) => ("IOSchedulingClass", 211),
            Self::TimerSlack(_) => ("TimerSlackNSec", 212),
            Self::Data { .. } => ("standard input", 208),
            Self::Open { to: 0, .. } | Self::Terminal { to: 0, .. } => ("standard input", 208),
            Self::Open { to: 2, .. } | Self::Terminal { to: 2, .. } => ("standard error", 222),
            Self::Open { .. } | Self::Terminal { .. } | Self::Journal { .. } => {
                ("standard output", 209)
            }
            Self::SessionTerminal { .. } => ("standard input", 208),
            Self::OpenFile { .. } => ("OpenFile", 202),
            Self::PlaceFile { .. } | Self::Duplicate { .. } => ("file descriptors", 202),
            Self::Directory(Folder { kind, .. }) => match kind {
                DirectoryKind::Runtime => ("RuntimeDirectory", 233),
                DirectoryKind::State => ("StateDirectory", 238),
                DirectoryKind::Cache => ("CacheDirectory", 239),
                DirectoryKind::Logs => ("LogsDirectory", 240),
                DirectoryKind::Configuration => ("ConfigurationDirectory", 241),
                DirectoryKind::PrivateTmp => ("PrivateTmp", 226),
            },
            Self::Unshare(libc::CLONE_NEWNET)
            | Self::Namespace {
                kind: libc::CLONE_NEWNET,
                ..
            }
            | Self::Join {
                kind: libc::CLONE_NEWNET,
                ..
            } => ("network namespace", 225),
            Self::Namespace { .. }
            | Self::Unshare(_)
            | Self::Join { .. }
            | Self::TellNamespace { .. } => ("namespaces", 226),
            Self::Loopback => ("loopback link", 225),
            Self::Users { .. } | Self::HandedUsers(_) | Self::EnterUsers => ("user namespace", 217),
            Self::OwnMounts { .. }
            | Self::Tree { .. }
            | Self::Image { .. }
            | Self::Inaccessible { .. }
            | Self::NewFileSystem { .. }
            | Self::MountPoint { .. }
            | Self::Attach { .. }
            | Self::ReadOnly { .. }
            | Self::IdMap { .. }
            | Self::Attributes { .. } => ("mounts", 226),
            Self::Credential { .. } | Self::GiveCredentials { .. } => ("credentials", 243),
            Self::Handed { .. } | Self::Root { .. } => ("root folder", 210),
            Self::Personality(_) => ("Personality", 230),
            // It cannot fail, and systemd has no number for it.
            Self::Umask(_) => ("UMask", 1),
            Self::Bound(_)
            | Self::Capabilities { .. }
            | Self::Inheritable(_)
            | Self::Ambient(_) => ("capabilities", 218),
            Self::Keyring(_) => ("KeyringMode", 237),
            Self::SecureBits(_) => ("SecureBits", 213),
            Self::Groups(_) | Self::Gid(_) => ("groups", 216),
            Self::Uid { .. } => ("user", 217),
            Self::WorkingDirectory { .. } => ("WorkingDirectory", 200),
            Self::NoNewPrivileges => ("NoNewPrivileges", 227),
            Self::CloseFrom(_) => ("file descriptors", 202),
            Self::DenyWriteExecute(_) => ("MemoryDenyWriteExecute", 228),
            Self::Filter(_) => ("system call filter", 228),
            Self::Ready => ("report", 203),
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
pub(crate) fn perform(sys: &mut impl Syscall, steps: &mut [Step]) -> Result<(), (usize, Failure)> {
    for (number, step) in steps.iter_mut().enumerate() {
        sys.call(step).map_err(|failure| (number, failure))?;
    }
    Ok(())
}
