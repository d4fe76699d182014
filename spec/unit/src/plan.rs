//! [`ExecPlan`]: all that a child will be, as plain data, plus slots for file descriptors it is handed.
//!
//! A plan is what directives become ([`crate::directive`]) and what a client hands over for a transient unit
//! ([`crate::control::Request::Run`]). It holds numbers, not names: users are looked up, specifiers and variables
//! are expanded. PID 1 carries it out step by step and decides nothing more.
//! A plan from a client is hostile input until [`ExecPlan::check`] has passed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capability::CapabilitySet;

/// Most arguments of one command.
pub const MAX_ARGUMENTS: usize = 4096;
/// Most environment variables.
pub const MAX_ENVIRONMENT: usize = 4096;
/// Most bytes of one string in a plan.
pub const MAX_STRING: usize = 128 * 1024;
/// Most file descriptors handed over with one plan.
pub const MAX_FDS: usize = 64;

/// Index of a file descriptor among those handed over with the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FdSlot(pub u32);

/// All that a child will be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExecPlan {
    /// Absolute path of the program.
    pub program: String,
    /// Arguments, `argv[0]` included.
    pub argv: Vec<String>,
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
    /// Working directory; none means `/`.
    pub working_directory: Option<WorkingDirectory>,
    /// User and groups; none stays root.
    pub credentials: Option<Credentials>,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Capability sets.
    pub capabilities: Capabilities,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// umask(2).
    pub umask: u32,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adjust: Option<i32>,
    /// nice(2) value.
    pub nice: Option<i32>,
    /// SIGPIPE is ignored.
    pub ignore_sigpipe: bool,
    /// Where it is born and what holds there.
    pub cgroup: Cgroup,
    /// Standard input, output, error.
    pub stdio: Stdio,
    /// Folders made before it runs, in this order.
    pub directories: Vec<Directory>,
    /// What it is handed as file descriptors.
    pub fds: Fds,
}

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

/// Numbers a process runs under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    #[serde(default)]
    pub groups: Vec<u32>,
}

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

/// Capability sets of the child.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capabilities {
    /// All that it may ever have; none means no bound.
    pub bounding: Option<CapabilitySet>,
    /// Kept over the change of user and over exec.
    pub ambient: CapabilitySet,
}

/// The child's control group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cgroup {
    /// Below the cgroup root, such as `system.slice/etcd.service`. PID 1 overrides it for a transient unit outside
    /// `task.slice` and `system.slice`.
    pub path: String,
    /// Files to write, such as `memory.max`, with their content. Where one cannot be written nothing runs; only a limit
    /// of swap is kept by a kernel that cannot swap and has no file for it.
    pub settings: BTreeMap<String, String>,
    /// Files to write where the machine has them, such as `cpu.weight`: one that cannot be written is said.
    pub hints: BTreeMap<String, String>,
    /// The child may make groups below its own: the group belongs to its user.
    pub delegate: bool,
}

/// Standard streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stdio {
    /// Standard input.
    pub input: Input,
    /// Standard output.
    pub output: Output,
    /// Standard error.
    pub error: Output,
    /// SYSLOG_IDENTIFIER of its lines.
    pub identifier: String,
    /// Priority (`facility * 8 + level`) of lines without a `<N>` prefix.
    pub priority: u8,
    /// `<N>` at the start of a line is its level.
    pub level_prefix: bool,
}

/// Where standard input comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// `/dev/null`.
    #[default]
    Null,
    /// A terminal.
    Tty(String),
    /// A file, read.
    File(String),
    /// A handed-over descriptor.
    Fd(FdSlot),
}

/// Where standard output or error goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// The same as standard input (output) or standard output (error).
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// The journal's stream; the kernel log while there is no journal.
    Journal,
    /// The kernel log.
    Kmsg,
    /// A terminal.
    Tty(String),
    /// A file, opened as said.
    File {
        /// Absolute path.
        path: String,
        /// How it is opened.
        mode: FileMode,
    },
    /// A handed-over descriptor.
    Fd(FdSlot),
}

/// How an output file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileMode {
    /// Written from its start.
    Write,
    /// Appended to.
    Append,
    /// Emptied first.
    Truncate,
}

/// A folder made before the program runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
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
}

/// What a child is handed as file descriptors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fds {
    /// A detached mount that becomes `/`, in a mount namespace of the child's own.
    pub root: Option<FdSlot>,
    /// Namespaces to enter, in this order.
    pub namespaces: Vec<NamespaceFd>,
    /// Descriptors 3 and up, announced as LISTEN_FDS with these names.
    pub listen: Vec<ListenFd>,
}

/// A namespace to enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceFd {
    /// Its kind, which setns(2) checks.
    pub kind: Namespace,
    /// Its descriptor.
    pub fd: FdSlot,
}

/// Kinds of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// CLONE_NEWUSER.
    User,
    /// CLONE_NEWNS.
    Mount,
    /// CLONE_NEWNET.
    Network,
    /// CLONE_NEWIPC.
    Ipc,
    /// CLONE_NEWUTS.
    Uts,
    /// CLONE_NEWPID; refused, see [`ExecPlan::check`].
    Pid,
    /// CLONE_NEWCGROUP.
    Cgroup,
    /// CLONE_NEWTIME.
    Time,
}

/// A descriptor passed on from 3 up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenFd {
    /// Its name in LISTEN_FDNAMES.
    pub name: String,
    /// Its descriptor.
    pub fd: FdSlot,
}

impl Default for ExecPlan {
    fn default() -> Self {
        Self {
            program: String::new(),
            argv: Vec::new(),
            environment: BTreeMap::new(),
            working_directory: None,
            credentials: None,
            rlimits: Vec::new(),
            capabilities: Capabilities::default(),
            no_new_privileges: false,
            umask: 0o022,
            oom_score_adjust: None,
            nice: None,
            ignore_sigpipe: true,
            cgroup: Cgroup::default(),
            stdio: Stdio {
                output: Output::Journal,
                priority: 30,
                level_prefix: true,
                ..Stdio::default()
            },
            directories: Vec::new(),
            fds: Fds::default(),
        }
    }
}

impl ExecPlan {
    /// Refuses a plan that PID 1 could not carry out safely; `fds` descriptors came with it.
    ///
    /// The message names the field and what to do.
    pub fn check(&self, fds: usize) -> Result<(), String> {
        absolute("program", &self.program)?;
        if self.argv.is_empty() || self.argv.len() > MAX_ARGUMENTS {
            return Err(format!(
                "argv: {} arguments; give 1 to {MAX_ARGUMENTS}",
                self.argv.len()
            ));
        }
        for argument in &self.argv {
            text("argv", argument)?;
        }
        if self.environment.len() > MAX_ENVIRONMENT {
            return Err(format!(
                "environment: more than {MAX_ENVIRONMENT} variables"
            ));
        }
        for (name, value) in &self.environment {
            text("environment", value)?;
            if !crate::environment::is_name(name) {
                return Err(format!("environment: {name:?} is not a variable name"));
            }
        }
        if let Some(folder) = &self.working_directory {
            absolute("working_directory", &folder.path)?;
        }
        for folder in &self.directories {
            absolute("directories", &folder.path)?;
        }
        if self.umask > 0o777 {
            return Err(format!("umask: {:o} is more than 777", self.umask));
        }
        if self
            .oom_score_adjust
            .is_some_and(|score| !(-1000..=1000).contains(&score))
        {
            return Err("oom_score_adjust: must be -1000 to 1000".into());
        }
        self.cgroup.check()?;
        self.check_stdio()?;
        self.check_slots(fds)
    }

    fn check_stdio(&self) -> Result<(), String> {
        line("stdio.identifier", &self.stdio.identifier)?;
        if let Input::Tty(path) | Input::File(path) = &self.stdio.input {
            absolute("stdio.input", path)?;
        }
        for (field, output) in [
            ("stdio.output", &self.stdio.output),
            ("stdio.error", &self.stdio.error),
        ] {
            if let Output::Tty(path) | Output::File { path, .. } = output {
                absolute(field, path)?;
            }
        }
        Ok(())
    }

    fn check_slots(&self, fds: usize) -> Result<(), String> {
        if fds > MAX_FDS {
            return Err(format!("{fds} file descriptors; at most {MAX_FDS}"));
        }
        for listen in &self.fds.listen {
            line("fds.listen", &listen.name)?;
        }
        let namespaces = &self.fds.namespaces;
        if namespaces
            .iter()
            .any(|handed| handed.kind == Namespace::Pid)
        {
            // setns(2) with CLONE_NEWPID moves the caller's later children, not the caller.
            return Err(
                "fds.namespaces: a process cannot enter a pid namespace itself, and PID 1 does not put it there yet; \
                 hand none over"
                    .into(),
            );
        }
        match self.slots().find(|slot| slot.0 as usize >= fds) {
            Some(slot) => Err(format!(
                "fds: slot {} is not among the {fds} descriptors handed over",
                slot.0
            )),
            None => Ok(()),
        }
    }

    /// Every slot the plan refers to.
    pub fn slots(&self) -> impl Iterator<Item = FdSlot> + '_ {
        let output = |output: &Output| {
            if let Output::Fd(slot) = output {
                Some(*slot)
            } else {
                None
            }
        };
        let input = if let Input::Fd(slot) = self.stdio.input {
            Some(slot)
        } else {
            None
        };
        self.fds
            .root
            .into_iter()
            .chain(self.fds.namespaces.iter().map(|namespace| namespace.fd))
            .chain(self.fds.listen.iter().map(|listen| listen.fd))
            .chain(input)
            .chain(output(&self.stdio.output))
            .chain(output(&self.stdio.error))
    }
}

impl Cgroup {
    /// Refuses a path that leaves the tree and a setting that is not a plain file of a controller.
    pub fn check(&self) -> Result<(), String> {
        text("cgroup.path", &self.path)?;
        let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.len() > 255;
        if self.path.split('/').any(odd) || self.path.split('/').count() > 16 {
            return Err(format!(
                "cgroup.path: {:?} is not a path below the cgroup root",
                self.path
            ));
        }
        let settings = self
            .settings
            .iter()
            .map(|setting| ("cgroup.settings", setting));
        let hints = self.hints.iter().map(|hint| ("cgroup.hints", hint));
        for (field, (file, value)) in settings.chain(hints) {
            line(field, value)?;
            let known = ["cpu.", "memory.", "pids.", "io.", "cpuset.", "hugetlb."];
            let plain = file
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'_'));
            if !plain || file.len() > 64 || !known.iter().any(|prefix| file.starts_with(prefix)) {
                return Err(format!("{field}: {file:?} is not a file of a controller"));
            }
        }
        Ok(())
    }
}

fn text(field: &str, value: &str) -> Result<(), String> {
    if value.len() > MAX_STRING {
        return Err(format!("{field}: longer than {MAX_STRING} bytes"));
    }
    if value.contains('\0') {
        return Err(format!("{field}: holds a NUL byte"));
    }
    Ok(())
}

fn line(field: &str, value: &str) -> Result<(), String> {
    text(field, value)?;
    if value.contains('\n') {
        Err(format!("{field}: holds a line feed"))
    } else {
        Ok(())
    }
}

fn absolute(field: &str, value: &str) -> Result<(), String> {
    text(field, value)?;
    let odd = value.split('/').any(|part| part == "..");
    if !value.starts_with('/') || odd || value.len() > 4095 {
        return Err(format!(
            "{field}: {value:?} is not an absolute path without \"..\""
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> ExecPlan {
        ExecPlan {
            program: "/bin/true".into(),
            argv: vec!["true".into()],
            cgroup: Cgroup {
                path: "task.slice/a.service".into(),
                ..Cgroup::default()
            },
            ..ExecPlan::default()
        }
    }

    #[test]
    fn a_plain_plan_passes() {
        assert_eq!(plan().check(0), Ok(()));
    }

    #[test]
    fn each_hostile_field_is_refused_by_name() {
        type Spoil = fn(&mut ExecPlan);
        let cases: [(&str, Spoil); 12] = [
            ("program", |plan| plan.program = "true".into()),
            ("program", |plan| plan.program = "/bin/../true".into()),
            ("argv", |plan| plan.argv.clear()),
            ("argv", |plan| plan.argv = vec!["a\0b".into()]),
            ("environment", |plan| {
                drop(plan.environment.insert("A=B".into(), String::new()))
            }),
            ("cgroup.path", |plan| {
                plan.cgroup.path = "../init.scope".into()
            }),
            ("cgroup.settings", |plan| {
                drop(
                    plan.cgroup
                        .settings
                        .insert("cgroup.procs".into(), "1".into()),
                )
            }),
            ("stdio.identifier", |plan| {
                plan.stdio.identifier = "a\nb".into()
            }),
            ("fds", |plan| plan.fds.root = Some(FdSlot(0))),
            ("cgroup.hints", |plan| {
                drop(plan.cgroup.hints.insert("cgroup.kill".into(), "1".into()))
            }),
            ("fds.namespaces", |plan| {
                plan.fds.namespaces = vec![NamespaceFd {
                    kind: Namespace::Pid,
                    fd: FdSlot(0),
                }]
            }),
            ("umask", |plan| plan.umask = 0o7777),
        ];
        for (field, spoil) in cases {
            let mut plan = plan();
            spoil(&mut plan);
            let message = plan.check(0).expect_err(field);
            assert!(message.starts_with(field), "{field}: {message}");
        }
    }

    #[test]
    fn slots_within_the_handed_over_descriptors_pass() {
        let mut plan = plan();
        plan.fds.root = Some(FdSlot(0));
        plan.stdio.output = Output::Fd(FdSlot(1));
        assert_eq!(plan.check(2), Ok(()));
        assert!(plan.check(1).is_err());
    }
}
