//! From an [`ExecPlan`] to a running process.
//!
//! The parent turns the plan into [`Step`]s, with every string ready for the kernel; the child only carries them out.
//! So their order is plain data, tested without root, and nothing is allocated between clone and exec. What a step
//! failed with comes back through a pipe that closes at exec: its end without a word means that the program runs.

use std::ffi::{CString, c_char, c_int};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use spec_unit::plan::{
    Credentials, ExecPlan, FdSlot, FileMode, Input, Namespace, Output, Resource, Rlimit,
};

use crate::sys;

/// Open files of a child whose plan says nothing, as systemd gives them: PID 1's own limit is nobody else's.
const OPEN_FILES: Rlimit = Rlimit {
    resource: Resource::Nofile,
    soft: 1024,
    hard: 524_288,
};

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
    /// capset(2): permitted, effective and inheritable.
    Capabilities(u64),
    /// Raise an ambient capability.
    Ambient(u32),
    /// chdir(2).
    WorkingDirectory { path: CString, missing_ok: bool },
    /// PR_SET_NO_NEW_PRIVS.
    NoNewPrivileges,
    /// Close all descriptors from this one on at exec.
    CloseFrom(i32),
    /// execve(2).
    Exec(Exec),
}

impl Step {
    /// What people and systemd's exit codes call it.
    fn name_and_code(&self) -> (&'static str, i32) {
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
            Self::Umask(_) => ("UMask", 228),
            Self::Bound(_) | Self::Capabilities(_) | Self::Ambient(_) => ("capabilities", 218),
            Self::Groups(_) | Self::Gid(_) => ("groups", 216),
            Self::Uid { .. } => ("user", 217),
            Self::WorkingDirectory { .. } => ("WorkingDirectory", 200),
            Self::NoNewPrivileges => ("NoNewPrivileges", 227),
            Self::CloseFrom(_) => ("file descriptors", 202),
            Self::Exec(_) => ("execution", 203),
        }
    }
}

/// The program with its arguments and variables, ready for the kernel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exec {
    /// Its path.
    pub(crate) program: CString,
    arguments: Vec<CString>,
    variables: Vec<CString>,
    /// `LISTEN_PID=` and room for a number.
    listen_pid: Option<Box<[u8; 24]>>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
}

impl Exec {
    fn new(plan: &ExecPlan) -> io::Result<Self> {
        let mut variables: Vec<String> = plan
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let listen = &plan.fds.listen;
        let listen_pid = (!listen.is_empty()).then(|| {
            let names: Vec<&str> = listen.iter().map(|listen| listen.name.as_str()).collect();
            variables.push(format!("LISTEN_FDS={}", listen.len()));
            variables.push(format!("LISTEN_FDNAMES={}", names.join(":")));
            Box::new([0; 24])
        });
        let mut exec = Self {
            program: text(&plan.program)?,
            arguments: plan
                .argv
                .iter()
                .map(|argument| text(argument))
                .collect::<io::Result<_>>()?,
            variables: variables
                .iter()
                .map(|variable| text(variable))
                .collect::<io::Result<_>>()?,
            listen_pid,
            argv: Vec::new(),
            envp: Vec::new(),
        };
        // The strings live on the heap: moving `exec` does not move them.
        let end = std::iter::once(std::ptr::null());
        exec.argv = exec
            .arguments
            .iter()
            .map(|text| text.as_ptr())
            .chain(end.clone())
            .collect();
        let listen = exec.listen_pid.iter().map(|text| text.as_ptr().cast());
        exec.envp = exec
            .variables
            .iter()
            .map(|text| text.as_ptr())
            .chain(listen)
            .chain(end)
            .collect();
        Ok(exec)
    }

    /// Arguments, ended by null.
    pub(crate) fn argv(&self) -> *const *const c_char {
        self.argv.as_ptr()
    }

    /// Variables, ended by null.
    pub(crate) fn envp(&self) -> *const *const c_char {
        self.envp.as_ptr()
    }

    /// Writes the child's own number into LISTEN_PID, without allocating.
    pub(crate) fn set_listen_pid(&mut self, pid: i32) {
        let Some(buffer) = &mut self.listen_pid else {
            return;
        };
        let mut digits = [b'0'; 10];
        let mut count = 0;
        let mut rest = pid.unsigned_abs();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        let number = digits.iter().skip(digits.len() - count);
        let text = b"LISTEN_PID="
            .iter()
            .chain(number)
            .chain(std::iter::once(&0));
        for (to, from) in buffer.iter_mut().zip(text) {
            *to = *from;
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

/// The steps of a plan, in the order that keeps each possible: what needs root first, the walls last.
pub(crate) fn steps(plan: &ExecPlan, unit: &str, fds: &[OwnedFd]) -> io::Result<Vec<Step>> {
    let mut steps = vec![
        Step::Signals {
            ignore_pipe: plan.ignore_sigpipe,
        },
        Step::Session,
    ];
    if let Some(score) = plan.oom_score_adjust {
        steps.push(Step::OomScore(score.to_string().into_bytes()));
    }
    let open_files = |limit: &&Rlimit| limit.resource == Resource::Nofile;
    let limits = plan.rlimits.iter().filter(|limit| !open_files(limit));
    steps.extend(limits.map(limit));
    steps.extend(plan.nice.map(Step::Nice));
    stdio(plan, unit, fds, &mut steps)?;
    folders(plan, &mut steps)?;
    for namespace in &plan.fds.namespaces {
        steps.push(Step::Namespace {
            fd: slot(fds, namespace.fd)?,
            kind: clone_flag(namespace.kind),
        });
    }
    if let Some(root) = plan.fds.root {
        steps.push(Step::Root {
            fd: slot(fds, root)?,
        });
    }
    steps.push(Step::Umask(plan.umask));
    for (number, listen) in plan.fds.listen.iter().enumerate() {
        steps.push(Step::Duplicate {
            from: slot(fds, listen.fd)?,
            to: 3 + number as RawFd,
        });
    }
    // PID 1's own descriptors are there until exec: below the child's limit it could open nothing more.
    let open_files = plan.rlimits.iter().find(open_files);
    steps.push(limit(open_files.unwrap_or(&OPEN_FILES)));
    identity(plan, &mut steps);
    let (path, missing_ok) = plan
        .working_directory
        .as_ref()
        .map_or(("/", false), |d| (d.path.as_str(), d.missing_ok));
    steps.push(Step::WorkingDirectory {
        path: text(path)?,
        missing_ok,
    });
    if plan.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    steps.push(Step::CloseFrom(3 + plan.fds.listen.len() as i32));
    steps.push(Step::Exec(Exec::new(plan)?));
    Ok(steps)
}

fn limit(limit: &Rlimit) -> Step {
    Step::Limit {
        resource: limit.resource as u32,
        soft: limit.soft,
        hard: limit.hard,
    }
}

fn stdio(plan: &ExecPlan, unit: &str, fds: &[OwnedFd], steps: &mut Vec<Step>) -> io::Result<()> {
    let stdio = &plan.stdio;
    steps.push(match &stdio.input {
        Input::Null => Step::Open {
            path: c"/dev/null".into(),
            flags: libc::O_RDONLY,
            to: 0,
        },
        Input::Tty(path) => Step::Terminal {
            path: text(path)?,
            to: 0,
        },
        Input::File(path) => Step::Open {
            path: text(path)?,
            flags: libc::O_RDONLY | libc::O_NONBLOCK,
            to: 0,
        },
        Input::Fd(fd) => Step::Duplicate {
            from: slot(fds, *fd)?,
            to: 0,
        },
    });
    for (output, to) in [(&stdio.output, 1), (&stdio.error, 2)] {
        steps.push(match output {
            // Standard input that is /dev/null is open for reading only.
            Output::Inherit if to == 1 && stdio.input == Input::Null => Step::Open {
                path: c"/dev/null".into(),
                flags: libc::O_WRONLY,
                to,
            },
            Output::Inherit => Step::Duplicate { from: to - 1, to },
            Output::Null => Step::Open {
                path: c"/dev/null".into(),
                flags: libc::O_WRONLY,
                to,
            },
            Output::Kmsg => Step::Open {
                path: c"/dev/kmsg".into(),
                flags: libc::O_WRONLY,
                to,
            },
            Output::Journal => Step::Journal {
                path: text(spec_layout::path::JOURNAL_STDOUT)?,
                header: journal_header(plan, unit),
                to,
            },
            Output::Tty(path) => Step::Terminal {
                path: text(path)?,
                to,
            },
            Output::File { path, mode } => {
                let how = match mode {
                    FileMode::Write => 0,
                    FileMode::Append => libc::O_APPEND,
                    FileMode::Truncate => libc::O_TRUNC,
                };
                Step::Open {
                    path: text(path)?,
                    flags: libc::O_WRONLY | libc::O_CREAT | how,
                    to,
                }
            }
            Output::Fd(fd) => Step::Duplicate {
                from: slot(fds, *fd)?,
                to,
            },
        });
    }
    Ok(())
}

/// The seven lines of a journal stream: identifier, unit, priority, level prefix, and three forwards that are off.
fn journal_header(plan: &ExecPlan, unit: &str) -> Vec<u8> {
    let stdio = &plan.stdio;
    let prefix = u8::from(stdio.level_prefix);
    format!(
        "{}\n{unit}\n{}\n{prefix}\n0\n0\n0\n",
        stdio.identifier, stdio.priority
    )
    .into_bytes()
}

fn folders(plan: &ExecPlan, steps: &mut Vec<Step>) -> io::Result<()> {
    for folder in &plan.directories {
        let parents = folder
            .path
            .match_indices('/')
            .skip(1)
            .filter_map(|(end, _)| folder.path.get(..end));
        for parent in parents {
            steps.push(Step::Directory {
                path: text(parent)?,
                mode: 0o755,
                owner: None,
            });
        }
        let owner = Some((folder.uid, folder.gid));
        steps.push(Step::Directory {
            path: text(&folder.path)?,
            mode: folder.mode,
            owner,
        });
    }
    Ok(())
}

fn identity(plan: &ExecPlan, steps: &mut Vec<Step>) {
    if let Some(bounding) = plan.capabilities.bounding {
        let known = 0..spec_unit::capability::NAMES.len() as u32;
        steps.extend(
            known
                .filter(|number| !bounding.has(*number))
                .map(Step::Bound),
        );
    }
    let Some(Credentials { uid, gid, groups }) = &plan.credentials else {
        return;
    };
    steps.push(Step::Groups(groups.clone()));
    steps.push(Step::Gid(*gid));
    if *uid == 0 {
        return;
    }
    let ambient = plan.capabilities.ambient;
    steps.push(Step::Uid {
        uid: *uid,
        keep: ambient.0 != 0,
    });
    if ambient.0 != 0 {
        steps.push(Step::Capabilities(ambient.0));
        steps.extend(
            (0..64)
                .filter(|number| ambient.has(*number))
                .map(Step::Ambient),
        );
    }
}

fn clone_flag(kind: Namespace) -> c_int {
    match kind {
        Namespace::User => libc::CLONE_NEWUSER,
        Namespace::Mount => libc::CLONE_NEWNS,
        Namespace::Network => libc::CLONE_NEWNET,
        Namespace::Ipc => libc::CLONE_NEWIPC,
        Namespace::Uts => libc::CLONE_NEWUTS,
        Namespace::Pid => libc::CLONE_NEWPID,
        Namespace::Cgroup => libc::CLONE_NEWCGROUP,
        Namespace::Time => 0x80,
    }
}

fn slot(fds: &[OwnedFd], slot: FdSlot) -> io::Result<RawFd> {
    let fd = fds.get(slot.0 as usize).map(|fd| fd.as_raw_fd());
    fd.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {} was not handed over", slot.0),
        )
    })
}

fn text(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{text:?} holds a NUL byte"),
        )
    })
}

/// A child whose program may not run yet.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// The process.
    pub(crate) child: sys::clone::Child,
    /// Ends at exec; before that, what failed.
    pub(crate) report: ExecReport,
}

/// Reads what became of exec.
#[derive(Debug)]
pub(crate) struct ExecReport {
    /// The pipe, non-blocking.
    pub(crate) pipe: File,
    names: Vec<(&'static str, i32)>,
    program: String,
}

/// What became of exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExecOutcome {
    /// The program runs.
    Runs,
    /// The child is not there yet.
    Pending,
    /// It does not, and why.
    Failed(String),
}

impl ExecReport {
    /// What is to be executed.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// Looks, without waiting.
    pub(crate) fn outcome(&mut self) -> ExecOutcome {
        let mut report = [0; 8];
        match self.pipe.read(&mut report) {
            Ok(0) => ExecOutcome::Runs,
            Ok(8) => {
                let [a, b, c, d, e, f, g, h] = report;
                let step = u32::from_ne_bytes([a, b, c, d]) as usize;
                let cause = io::Error::from_raw_os_error(i32::from_ne_bytes([e, f, g, h]));
                let name = self.names.get(step).map_or("start", |(name, _)| name);
                ExecOutcome::Failed(format!("{}: {name}: {cause}", self.program))
            }
            Ok(_) => ExecOutcome::Failed(format!("{}: broken report", self.program)),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => ExecOutcome::Pending,
            Err(cause) => ExecOutcome::Failed(format!("{}: {cause}", self.program)),
        }
    }
}

/// Makes the process of a plan, in a cgroup.
pub(crate) fn spawn(
    plan: &ExecPlan,
    unit: &str,
    cgroup: Option<BorrowedFd<'_>>,
    fds: &[OwnedFd],
) -> io::Result<Spawned> {
    let mut steps = steps(plan, unit, fds)?;
    let names: Vec<(&'static str, i32)> = steps.iter().map(Step::name_and_code).collect();
    let (read, write) = sys::clone::pipe()?;
    let child = sys::clone::child(cgroup, || {
        let failed = perform(&mut sys::child::Kernel, &mut steps).err();
        let (step, failure) = failed.unwrap_or((u32::MAX, Failure(0)));
        let code = names.get(step as usize).map_or(255, |(_, code)| *code);
        sys::child::fail(write.as_raw_fd(), step, failure, code)
    })?;
    Ok(Spawned {
        child,
        report: ExecReport {
            pipe: read,
            names,
            program: plan.program.clone(),
        },
    })
}

#[cfg(test)]
mod tests;
