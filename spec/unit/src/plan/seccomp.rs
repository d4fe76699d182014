//! Which system calls a child may make, as a description; [`crate::seccomp`] makes the kernel's program of it.

use serde::{Deserialize, Serialize};

use super::{ExecPlan, Namespace, line};

/// Most names in one list of system calls, groups counted once.
const MAX_CALLS: usize = 4096;
/// Highest address family, and one.
pub const ADDRESS_FAMILIES: u16 = 64;

/// The walls of a child that are filters of system calls. By default there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Seccomp {
    /// SystemCallFilter=.
    pub calls: Option<CallList>,
    /// SystemCallErrorNumber=: what becomes of a call that `calls` denies.
    pub denied: CallAction,
    /// SystemCallLog=: calls that the kernel logs. Actions in it mean nothing.
    pub log: Option<CallList>,
    /// SystemCallArchitectures=: whose calls may be made besides the native ones; none allows all.
    pub architectures: Option<Vec<Architecture>>,
    /// RestrictAddressFamilies=.
    pub address_families: Option<AddressFamilies>,
    /// RestrictNamespaces=: kinds that may be made and entered; none allows all.
    pub namespaces: Option<Vec<Namespace>>,
    /// MemoryDenyWriteExecute=.
    pub memory_deny_write_execute: bool,
    /// LockPersonality=: no execution domain but the plan's own.
    pub lock_personality: bool,
    /// RestrictRealtime=.
    pub realtime: bool,
    /// RestrictSUIDSGID=.
    pub suid_sgid: bool,
    /// ProtectClock=: `@clock`.
    pub clock: bool,
    /// ProtectHostname=: sethostname(2), setdomainname(2).
    pub hostname: bool,
    /// ProtectKernelModules=: `@module`.
    pub kernel_modules: bool,
    /// ProtectKernelLogs=: syslog(2).
    pub kernel_logs: bool,
    /// ProtectKernelTunables=: `_sysctl`(2).
    pub kernel_tunables: bool,
    /// PrivateDevices=: `@raw-io`.
    pub private_devices: bool,
}

/// What becomes of a call that is denied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallAction {
    /// The process dies of SIGSYS.
    #[default]
    Kill,
    /// The call fails with this error number, at most 4095.
    Errno(u16),
}

/// A list of system calls, as its assignments left it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallList {
    /// The first assignment had no `~`: the list is of what is allowed (or logged).
    pub allow: bool,
    /// The words, in order.
    pub words: Vec<CallWord>,
}

/// A word of a list of system calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallWord {
    /// A call, or a group with its `@`. A call that an architecture does not have is left out there.
    pub name: String,
    /// It stood behind a `~`.
    #[serde(default)]
    pub inverted: bool,
    /// What becomes of this call, if that is not what becomes of all denied ones.
    #[serde(default)]
    pub action: Option<CallAction>,
}

/// Architectures that system calls are made for, in systemd's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// What the node itself is.
    Native,
    /// i386.
    X86,
    /// x86-64.
    #[serde(rename = "x86-64")]
    X86_64,
    /// The 32-bit calls of x86-64.
    X32,
    /// 32-bit ARM.
    Arm,
    /// 64-bit ARM.
    Arm64,
    /// One that no node of ours has.
    Foreign,
}

/// Which sockets may be made with socket(2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressFamilies {
    /// Only these families; else all but these.
    pub allow: bool,
    /// Their numbers.
    pub families: Vec<u16>,
}

/// How a child may load its filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterPrivilege {
    /// It needs nothing more: it has no filter, no_new_privs or CAP_SYS_ADMIN.
    AsItIs,
    /// It keeps CAP_SYS_ADMIN until exec takes it away.
    KeepSysAdmin,
    /// no_new_privs is implied.
    NoNewPrivileges,
}

impl Seccomp {
    /// Nothing is filtered.
    pub fn is_empty(&self) -> bool {
        let empty = Self {
            denied: self.denied,
            ..Self::default()
        };
        *self == empty
    }

    /// Refuses what no unit file could ask for.
    pub(super) fn check(&self) -> Result<(), String> {
        for list in self.calls.iter().chain(&self.log) {
            list.check()?;
        }
        action("seccomp.denied", self.denied)?;
        let count = |field, count| {
            if count > usize::from(ADDRESS_FAMILIES) {
                Err(format!("{field}: more than {ADDRESS_FAMILIES}"))
            } else {
                Ok(())
            }
        };
        count(
            "seccomp.architectures",
            self.architectures.as_ref().map_or(0, Vec::len),
        )?;
        count(
            "seccomp.namespaces",
            self.namespaces.as_ref().map_or(0, Vec::len),
        )?;
        let families = self.address_families.iter().flat_map(|of| &of.families);
        count("seccomp.address_families", families.clone().count())?;
        match families.max() {
            Some(most) if *most >= ADDRESS_FAMILIES => Err(format!(
                "seccomp.address_families: {most} is not an address family"
            )),
            _ => Ok(()),
        }
    }
}

impl CallList {
    fn check(&self) -> Result<(), String> {
        if self.words.len() > MAX_CALLS {
            return Err(format!("seccomp.calls: more than {MAX_CALLS} names"));
        }
        for word in &self.words {
            line("seccomp.calls", &word.name)?;
            if word.name.is_empty() || word.name.len() > 64 {
                return Err(format!(
                    "seccomp.calls: {:?} is not a system call",
                    word.name
                ));
            }
            action("seccomp.calls", word.action.unwrap_or_default())?;
        }
        Ok(())
    }
}

fn action(field: &str, action: CallAction) -> Result<(), String> {
    match action {
        CallAction::Errno(number) if number > 4095 => {
            Err(format!("{field}: {number} is not an error number"))
        }
        _ => Ok(()),
    }
}

impl ExecPlan {
    /// How the child may load its filters, as systemd 257 has it: under another user it keeps CAP_SYS_ADMIN for that;
    /// but where its own filter would not let it give up capabilities again, no_new_privs is implied.
    pub fn filter_privilege(&self) -> FilterPrivilege {
        let root = self.credentials.as_ref().is_none_or(|of| of.uid == 0);
        if root || self.no_new_privileges || self.seccomp.is_empty() {
            return FilterPrivilege::AsItIs;
        }
        let drops = ["capget", "capset", "prctl"];
        if crate::seccomp::permits(&self.seccomp, &drops) {
            FilterPrivilege::KeepSysAdmin
        } else {
            FilterPrivilege::NoNewPrivileges
        }
    }
}
