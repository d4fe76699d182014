//! Directives that confine a service and are not implemented yet.
//!
//! A unit that asks for one is refused, unless the recipe allows the unit by name: running it without its walls would
//! be a lie. A value that switches the wall off is fine.

use super::{Directive, Support};
use crate::value;

const fn row(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "see systemd.exec(5)",
        documentation,
        support: Support::Refuse,
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row("DynamicUser", "A user made up for one run."),
    row("RootDirectory", "Another root folder."),
    row("RootImage", "A disk image as root."),
    row("RootHash", "The verity hash of the root image."),
    row("MountAPIVFS", "/proc, /sys and /dev within another root."),
    row("BindPaths", "Paths mounted elsewhere."),
    row("BindReadOnlyPaths", "Paths mounted elsewhere, read-only."),
    row("TemporaryFileSystem", "Empty file systems over paths."),
    row(
        "ReadWritePaths",
        "Paths that stay writable under ProtectSystem=.",
    ),
    row("ReadOnlyPaths", "Paths that are read-only."),
    row("InaccessiblePaths", "Paths that are out of reach."),
    row("ExecPaths", "Paths whose files may be executed."),
    row("NoExecPaths", "Paths whose files may not be executed."),
    row("PrivateTmp", "A /tmp of its own."),
    row("PrivateDevices", "A /dev with the harmless devices only."),
    row("PrivateNetwork", "A network of its own, without links."),
    row("NetworkNamespacePath", "A network namespace to join."),
    row("PrivateUsers", "User numbers of its own."),
    row("PrivateMounts", "Mounts of its own."),
    row("PrivateIPC", "System V and POSIX IPC of its own."),
    row("IPCNamespacePath", "An IPC namespace to join."),
    row("PrivatePIDs", "Process numbers of its own."),
    row("ProtectSystem", "/usr and /etc read-only."),
    row("ProtectHome", "/home, /root and /run/user out of reach."),
    row("ProtectKernelTunables", "/proc/sys and /sys read-only."),
    row("ProtectKernelModules", "No loading of modules."),
    row("ProtectKernelLogs", "No kernel log."),
    row("ProtectControlGroups", "The cgroup tree read-only."),
    row("ProtectClock", "No setting of the clock."),
    row("ProtectHostname", "No setting of the host name."),
    row("ProtectProc", "Other users' processes hidden."),
    row("ProcSubset", "Only processes in /proc."),
    row("RestrictAddressFamilies", "Only these socket families."),
    row("RestrictFileSystems", "Only these file systems."),
    row("RestrictNamespaces", "No making of namespaces."),
    row("RestrictRealtime", "No real-time scheduling."),
    row("RestrictSUIDSGID", "No setting of setuid and setgid bits."),
    row("RestrictNetworkInterfaces", "Only these links."),
    row(
        "MemoryDenyWriteExecute",
        "No memory both writable and executable.",
    ),
    row("LockPersonality", "No change of personality."),
    row("RemoveIPC", "IPC objects of its user removed at the end."),
    row("SystemCallFilter", "Only these system calls."),
    row(
        "SystemCallArchitectures",
        "Only system calls of these architectures.",
    ),
    row("DeviceAllow", "Only these devices."),
    row("DevicePolicy", "Which devices are allowed at all."),
    row("IPAddressAllow", "Only these addresses."),
    row("IPAddressDeny", "Not these addresses."),
    row("SocketBindAllow", "Only these ports to bind."),
    row("SocketBindDeny", "Not these ports to bind."),
    row("AppArmorProfile", "An AppArmor profile."),
    row("SELinuxContext", "A SELinux context."),
    row("SmackProcessLabel", "A SMACK label."),
];

/// Whether a value asks for no isolation at all.
pub fn is_off(name: &str, text: &str) -> bool {
    match name {
        _ if text.is_empty() => true,
        "DevicePolicy" => text == "auto",
        "ProtectProc" => text == "default",
        "ProcSubset" => text == "all",
        // Widens a wall, or needs one that is refused by itself.
        "ReadWritePaths" | "ExecPaths" => true,
        // Only what would be missing without it matters: the profile may not be there.
        "AppArmorProfile" | "SELinuxContext" | "SmackProcessLabel" => text.starts_with('-'),
        _ => value::boolean(text) == Ok(false),
    }
}
