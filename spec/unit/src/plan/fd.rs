//! What a child is handed as file descriptors.

use serde::{Deserialize, Serialize};

use crate::directive::notify::is_fd_name;

/// Index of a file descriptor among those handed over with the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FdSlot(pub u32);

/// What a child is handed as file descriptors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fds {
    /// A detached mount (`open_tree(2)` with OPEN_TREE_CLONE, or `fsmount(2)`) that becomes `/`, in a mount namespace of
    /// the child's own. It is used up.
    pub root: Option<FdSlot>,
    /// Namespaces to enter, in this order; that of users last, once nothing is left for root outside to do.
    pub namespaces: Vec<NamespaceFd>,
    /// Descriptors 3 and up, announced as LISTEN_FDS with these names.
    pub listen: Vec<ListenFd>,
    /// Files opened for it, announced after those.
    pub opened: Vec<OpenedFile>,
}

/// Most files opened for a program.
pub const MAX_OPENED: usize = 64;

/// A file that is opened for a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedFile {
    /// Its name in LISTEN_FDNAMES.
    pub name: String,
    /// Absolute path in PID 1's root, of a file or a Unix socket that is there.
    pub path: String,
    /// How it is opened; a socket is connected to.
    pub how: OpenedHow,
    /// It is left out where nothing stands at the path.
    #[serde(default)]
    pub missing_ok: bool,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenedHow {
    /// O_RDWR.
    ReadWrite,
    /// O_RDONLY.
    ReadOnly,
    /// O_RDWR and O_APPEND.
    Append,
    /// O_RDWR and O_TRUNC.
    Truncate,
}

impl Fds {
    pub(super) fn check_opened(&self) -> Result<(), String> {
        if self.opened.len() > MAX_OPENED {
            return Err(format!("fds.opened: more than {MAX_OPENED} files"));
        }
        for file in &self.opened {
            super::absolute("fds.opened", &file.path)?;
            if !is_fd_name(&file.name) {
                let name = &file.name;
                return Err(format!("fds.opened: {name:?} cannot be in LISTEN_FDNAMES"));
            }
        }
        Ok(())
    }

    /// Descriptors from 3 on, and their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let opened = self.opened.iter().map(|file| file.name.as_str());
        let listen = self.listen.iter().map(|listen| listen.name.as_str());
        listen.chain(opened)
    }
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
