//! What a child is handed as file descriptors.

use serde::{Deserialize, Serialize};

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
