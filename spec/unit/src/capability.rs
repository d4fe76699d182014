//! Capabilities by name and number, capabilities(7).

use serde::{Deserialize, Serialize};

/// Names by number, as in `<linux/capability.h>`.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A set of capabilities, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CapabilitySet(pub u64);

impl CapabilitySet {
    /// Every capability known here.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// CAP_SYS_ADMIN.
    pub const SYS_ADMIN: Self = Self(1 << 21);
    /// CAP_SETPCAP alone: what PR_SET_SECUREBITS takes.
    pub const SETPCAP: Self = Self(1 << 8);

    /// The set of the one capability of this name, in any case, with or without `CAP_`.
    pub fn named(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let position = NAMES
            .iter()
            .position(|known| *known == upper || known.strip_prefix("CAP_") == Some(&upper))?;
        Some(Self(1 << position))
    }

    /// Whether the capability with this number is in the set.
    pub fn has(self, number: u32) -> bool {
        number < 64 && self.0 >> number & 1 == 1
    }

    /// Names of the set's capabilities.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .iter()
            .enumerate()
            .filter(move |(number, _)| self.has(*number as u32))
            .map(|(_, name)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_agree_with_the_kernel() {
        assert_eq!(
            CapabilitySet::named("cap_net_admin"),
            Some(CapabilitySet(1 << 12))
        );
        assert_eq!(
            CapabilitySet::named("CHECKPOINT_RESTORE"),
            Some(CapabilitySet(1 << 40))
        );
        assert_eq!(CapabilitySet::named("CAP_NOTHING"), None);
        assert_eq!(
            CapabilitySet(1 | 1 << 21).names().collect::<Vec<_>>(),
            ["CAP_CHOWN", "CAP_SYS_ADMIN"]
        );
    }
}
