//! [`ExecPlan`]: all that a child will be, as plain data, plus slots for file descriptors it is handed.
//!
//! A plan is what directives become ([`crate::directive`]) and what a client hands over for a transient unit
//! ([`crate::control::Request::Run`]). It holds numbers, not names: users are looked up, specifiers and variables
//! are expanded. PID 1 carries it out step by step and decides nothing more.
//! A plan from a client is hostile input until [`ExecPlan::check`] has passed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub mod cgroup;
mod confined;
pub mod credential;
pub mod fd;
pub mod filter;
pub mod folder;
pub mod identity;
pub mod image;
pub mod keyring;
pub mod limit;
pub mod mount;
pub mod mount_point;
pub mod namespace;
pub mod scheduling;
pub mod seccomp;
pub mod socket;
pub mod stdio;

pub use cgroup::{Cgroup, DEVICES, DeviceSetting, Startup, is_subgroup};
pub use fd::{FdSlot, Fds, ListenFd, Namespace, NamespaceFd, OpenedFile};
pub use folder::{Directory, DirectoryKind, WorkingDirectory};
pub use identity::{Capabilities, Credentials};
pub use image::{Image, RootHash};
pub use keyring::Keyring;
pub use limit::{Resource, Rlimit};
pub use mount::{Content, Mount, Mounts};
pub use namespace::{IdMaps, IdRange, Namespaces, Sharing};
pub use scheduling::{CpuScheduling, IoScheduling, NumaMode, NumaNodes, NumaPolicy, Scheduling};
pub use seccomp::{
    AddressFamilies, Architecture, CallAction, CallList, CallWord, FilterPrivilege, Seccomp,
};
pub use stdio::{FileMode, Input, Output, Stdio, Taken, Terminal};

/// Most arguments of one command.
pub const MAX_ARGUMENTS: usize = 4096;
/// Most environment variables.
pub const MAX_ENVIRONMENT: usize = 4096;
/// Most bytes of one string in a plan.
pub const MAX_STRING: usize = 128 * 1024;
/// Most namespaces handed over with one plan: one of each kind.
const MAX_NAMESPACES: usize = 8;
/// Most file descriptors handed over with one plan.
pub const MAX_FDS: usize = 64;

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
    /// Which system calls it may make.
    pub seccomp: Seccomp,
    /// personality(2): 0 (PER_LINUX) or 8 (PER_LINUX32); none leaves it.
    pub personality: Option<u32>,
    /// umask(2).
    pub umask: u32,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adjust: Option<i32>,
    /// nice(2) value.
    pub nice: Option<i32>,
    /// How it shares processors, memory and disks.
    pub scheduling: Scheduling,
    /// A session keyring of its own; none keeps PID 1's.
    pub keyring: Option<Keyring>,
    /// SIGPIPE is ignored.
    pub ignore_sigpipe: bool,
    /// Where it is born and what holds there.
    pub cgroup: Cgroup,
    /// Standard input, output, error.
    pub stdio: Stdio,
    /// Folders made before it runs, in this order.
    pub directories: Vec<Directory>,
    /// Its file systems.
    pub mounts: Mounts,
    /// Its other namespaces.
    pub namespaces: Namespaces,
    /// What it is handed as file descriptors.
    pub fds: Fds,
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
            seccomp: Seccomp::default(),
            personality: None,
            umask: 0o022,
            oom_score_adjust: None,
            nice: None,
            scheduling: Scheduling::default(),
            keyring: None,
            ignore_sigpipe: true,
            cgroup: Cgroup::default(),
            stdio: Stdio {
                output: Output::Journal,
                priority: 30,
                level_prefix: true,
                ..Stdio::default()
            },
            directories: Vec::new(),
            mounts: Mounts::default(),
            namespaces: Namespaces::default(),
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
            if let Some(other) = &folder.other {
                absolute("directories", other)?;
            }
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
        if self
            .personality
            .is_some_and(|domain| ![0, 8].contains(&domain))
        {
            return Err("personality: must be 0 or 8".into());
        }
        self.seccomp.check()?;
        self.capabilities.check()?;
        self.scheduling.check()?;
        if let Some(keyring) = &self.keyring {
            keyring.check()?;
        }
        self.cgroup.check()?;
        self.mounts.check()?;
        self.namespaces.check()?;
        if self.mounts.has_root() && self.fds.root.is_some() {
            return Err("mounts.root: a root was handed over too; give one".into());
        }
        self.stdio.check()?;
        self.check_users()?;
        self.check_slots(fds)
    }

    /// Whether a user namespace was handed over.
    fn has_handed_users(&self) -> bool {
        let mut kinds = self.fds.namespaces.iter().map(|handed| handed.kind);
        kinds.any(|kind| kind == Namespace::User)
    }

    fn check_users(&self) -> Result<(), String> {
        let handed = self.has_handed_users();
        let maps = self.namespaces.users.as_ref();
        if handed && maps.is_some() {
            return Err("namespaces.users: a user namespace was handed over too; give one".into());
        }
        if handed && self.cgroup.delegate {
            return Err(
                "cgroup.delegate: whose the group is cannot be told of a user namespace that was handed over; \
                 give namespaces.users"
                    .into(),
            );
        }
        let root = self.mounts.root.is_some() || self.fds.root.is_some();
        if self.mounts.idmapped && !root {
            return Err("mounts.idmapped: there is no other root; give one".into());
        }
        if self.mounts.is_idmapped() && !handed && maps.is_none() {
            return Err(
                "mounts.idmapped: there is no user namespace; give namespaces.users".into(),
            );
        }
        self.check_numbers()
    }

    /// Each number of the plan is one that its user namespace has.
    fn check_numbers(&self) -> Result<(), String> {
        let own = self.numbers();
        let folders = self.directories.iter();
        let folders = folders.map(|folder| ("directories", (folder.uid, folder.gid)));
        let secrets = self.mounts.credentials.iter();
        let secrets = secrets.map(|folder| ("mounts.credentials", (folder.uid, own.1)));
        let keyring = self.keyring.iter();
        let keyring = keyring.map(|keyring| ("keyring", (keyring.uid, keyring.gid)));
        let all = std::iter::once(("credentials", own)).chain(folders);
        let mut all = all.chain(secrets).chain(keyring);
        match all.find(|(_, (uid, gid))| self.outside(*uid, *gid).is_none()) {
            Some((field, (uid, gid))) => Err(format!(
                "{field}: user {uid} or group {gid} has no number in namespaces.users"
            )),
            None => Ok(()),
        }
    }

    /// User and group it runs under, in its own words.
    fn numbers(&self) -> (u32, u32) {
        let numbers = self.credentials.as_ref();
        numbers.map_or((0, 0), |numbers| (numbers.uid, numbers.gid))
    }

    /// What the node calls a user and group of the plan, which are those of its user namespace.
    pub fn outside(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        let maps = self.namespaces.users.as_ref();
        match maps.filter(|maps| maps.is_shifted()) {
            Some(maps) => maps.outside(uid, gid),
            None => Some((uid, gid)),
        }
    }

    /// User and group that the node knows the child by; none is root.
    pub fn owner(&self) -> Option<(u32, u32)> {
        let (uid, gid) = self.numbers();
        let owner = self.outside(uid, gid);
        owner.filter(|owner| self.credentials.is_some() || *owner != (0, 0))
    }

    fn check_slots(&self, fds: usize) -> Result<(), String> {
        if fds > MAX_FDS {
            return Err(format!("{fds} file descriptors; at most {MAX_FDS}"));
        }
        for listen in &self.fds.listen {
            line("fds.listen", &listen.name)?;
        }
        self.fds.check_opened()?;
        let namespaces = &self.fds.namespaces;
        if namespaces.len() > MAX_NAMESPACES {
            return Err(format!("fds.namespaces: more than {MAX_NAMESPACES}"));
        }
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
    let odd = value.split('/').any(|part| part == "..") || value.contains("//");
    if !value.starts_with('/') || odd || value.len() > 4095 {
        return Err(format!(
            "{field}: {value:?} is not an absolute path without \"..\" and \"//\""
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
