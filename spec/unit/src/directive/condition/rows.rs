//! The rows of the checks.

use super::{Check, add};
use crate::directive::{Directive, Support};

/// Each check by its two names.
pub(super) const CHECKS: &[(&str, &str, Check)] = &[
    ("ConditionPathExists", "AssertPathExists", Check::PathExists),
    (
        "ConditionPathExistsGlob",
        "AssertPathExistsGlob",
        Check::PathExistsGlob,
    ),
    (
        "ConditionPathIsDirectory",
        "AssertPathIsDirectory",
        Check::PathIsDirectory,
    ),
    (
        "ConditionPathIsSymbolicLink",
        "AssertPathIsSymbolicLink",
        Check::PathIsSymbolicLink,
    ),
    (
        "ConditionPathIsMountPoint",
        "AssertPathIsMountPoint",
        Check::PathIsMountPoint,
    ),
    (
        "ConditionPathIsReadWrite",
        "AssertPathIsReadWrite",
        Check::PathIsReadWrite,
    ),
    (
        "ConditionDirectoryNotEmpty",
        "AssertDirectoryNotEmpty",
        Check::DirectoryNotEmpty,
    ),
    (
        "ConditionFileNotEmpty",
        "AssertFileNotEmpty",
        Check::FileNotEmpty,
    ),
    (
        "ConditionFileIsExecutable",
        "AssertFileIsExecutable",
        Check::FileIsExecutable,
    ),
    (
        "ConditionKernelCommandLine",
        "AssertKernelCommandLine",
        Check::KernelCommandLine,
    ),
    ("ConditionHost", "AssertHost", Check::Host),
    (
        "ConditionVirtualization",
        "AssertVirtualization",
        Check::Virtualization,
    ),
    (
        "ConditionArchitecture",
        "AssertArchitecture",
        Check::Architecture,
    ),
    ("ConditionCapability", "AssertCapability", Check::Capability),
    ("ConditionFirstBoot", "AssertFirstBoot", Check::FirstBoot),
    ("ConditionACPower", "AssertACPower", Check::ACPower),
    (
        "ConditionKernelVersion",
        "AssertKernelVersion",
        Check::KernelVersion,
    ),
    ("ConditionVersion", "AssertVersion", Check::Version),
    (
        "ConditionNeedsUpdate",
        "AssertNeedsUpdate",
        Check::NeedsUpdate,
    ),
    ("ConditionSecurity", "AssertSecurity", Check::Security),
    ("ConditionUser", "AssertUser", Check::User),
    ("ConditionGroup", "AssertGroup", Check::Group),
    (
        "ConditionControlGroupController",
        "AssertControlGroupController",
        Check::ControlGroupController,
    ),
    (
        "ConditionEnvironment",
        "AssertEnvironment",
        Check::Environment,
    ),
    ("ConditionCredential", "AssertCredential", Check::Credential),
    ("ConditionMemory", "AssertMemory", Check::Memory),
    ("ConditionCPUs", "AssertCPUs", Check::CPUs),
    ("ConditionCPUFeature", "AssertCPUFeature", Check::CPUFeature),
    ("ConditionOSRelease", "AssertOSRelease", Check::OSRelease),
    ("ConditionFirmware", "AssertFirmware", Check::Firmware),
    (
        "ConditionPathIsEncrypted",
        "AssertPathIsEncrypted",
        Check::PathIsEncrypted,
    ),
    (
        "ConditionKernelModuleLoaded",
        "AssertKernelModuleLoaded",
        Check::KernelModuleLoaded,
    ),
    (
        "ConditionCPUPressure",
        "AssertCPUPressure",
        Check::CPUPressure,
    ),
    ("ConditionIOPressure", "AssertIOPressure", Check::IOPressure),
    (
        "ConditionMemoryPressure",
        "AssertMemoryPressure",
        Check::MemoryPressure,
    ),
];

const fn row(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Unit",
        name,
        value: "[|][!]VALUE",
        documentation,
        support: Support::Set(add),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row("ConditionPathExists", "Something stands at the path."),
    row(
        "AssertPathExists",
        "Something stands at the path, or the unit fails.",
    ),
    row(
        "ConditionPathExistsGlob",
        "Something matches the pattern: *, ? and [...] in any part.",
    ),
    row(
        "AssertPathExistsGlob",
        "Something matches the pattern, or the unit fails.",
    ),
    row("ConditionPathIsDirectory", "A folder stands at the path."),
    row(
        "AssertPathIsDirectory",
        "A folder stands at the path, or the unit fails.",
    ),
    row(
        "ConditionPathIsSymbolicLink",
        "A symbolic link stands at the path.",
    ),
    row(
        "AssertPathIsSymbolicLink",
        "A symbolic link stands at the path, or the unit fails.",
    ),
    row(
        "ConditionPathIsMountPoint",
        "A file system is mounted at the path.",
    ),
    row(
        "AssertPathIsMountPoint",
        "A file system is mounted at the path, or the unit fails.",
    ),
    row(
        "ConditionPathIsReadWrite",
        "The path is on a writable file system.",
    ),
    row(
        "AssertPathIsReadWrite",
        "The path is on a writable file system, or the unit fails.",
    ),
    row("ConditionDirectoryNotEmpty", "The folder holds something."),
    row(
        "AssertDirectoryNotEmpty",
        "The folder holds something, or the unit fails.",
    ),
    row("ConditionFileNotEmpty", "The file is longer than nothing."),
    row(
        "AssertFileNotEmpty",
        "The file is longer than nothing, or the unit fails.",
    ),
    row("ConditionFileIsExecutable", "The file may be executed."),
    row(
        "AssertFileIsExecutable",
        "The file may be executed, or the unit fails.",
    ),
    row(
        "ConditionKernelCommandLine",
        "The word, or name=value, is on the kernel command line.",
    ),
    row(
        "AssertKernelCommandLine",
        "The word is on the kernel command line, or the unit fails.",
    ),
    row(
        "ConditionHost",
        "The host name (with * and ?) or machine id.",
    ),
    row(
        "AssertHost",
        "The host name or machine id, or the unit fails.",
    ),
    row(
        "ConditionVirtualization",
        "yes, no, vm, container, or a technology such as kvm or qemu.",
    ),
    row("AssertVirtualization", "The same, or the unit fails."),
    row(
        "ConditionArchitecture",
        "The machine's architecture, such as x86-64, or native.",
    ),
    row("AssertArchitecture", "The same, or the unit fails."),
    row("ConditionCapability", "PID 1 has this capability."),
    row(
        "AssertCapability",
        "PID 1 has this capability, or the unit fails.",
    ),
    row(
        "ConditionFirstBoot",
        "The state partition was made at this boot.",
    ),
    row(
        "AssertFirstBoot",
        "The state partition was made at this boot, or the unit fails.",
    ),
    row(
        "ConditionACPower",
        "The machine is on AC power, or knows of no AC connector: by /sys/class/power_supply.",
    ),
    row("AssertACPower", "The same, or the unit fails."),
    row(
        "ConditionKernelVersion",
        "The kernel's release compares so: < <= == <> >= > by version, = and != as text, $= and !$= as a pattern.",
    ),
    row("AssertKernelVersion", "The same, or the unit fails."),
    row(
        "ConditionVersion",
        "The version of kernel or systemd compares so (from systemd 258). systemd is answered 257, whose meaning is followed; of glibc nothing holds.",
    ),
    row("AssertVersion", "The same, or the unit fails."),
    row(
        "ConditionNeedsUpdate",
        "/usr is newer than .updated in /etc or /var, and the folder is writable.",
    ),
    row("AssertNeedsUpdate", "The same, or the unit fails."),
    row(
        "ConditionSecurity",
        "selinux, apparmor, tomoyo, smack, ima, audit, uefi-secureboot, tpm2, cvm or measured-uki is in use, by /proc and /sys. cvm is TDX and SEV-SNP: an older SEV does not show there.",
    ),
    row("AssertSecurity", "The same, or the unit fails."),
    row(
        "ConditionUser",
        "PID 1 runs as this user, which is root: by name, number or @system.",
    ),
    row("AssertUser", "The same, or the unit fails."),
    row(
        "ConditionGroup",
        "PID 1 runs as this group, which is root: by name or number.",
    ),
    row("AssertGroup", "The same, or the unit fails."),
    row(
        "ConditionControlGroupController",
        "The kernel has these controllers; v2 holds and v1 does not.",
    ),
    row(
        "AssertControlGroupController",
        "The same, or the unit fails.",
    ),
    row(
        "ConditionEnvironment",
        "PID 1 has the variable, or the variable with this value.",
    ),
    row("AssertEnvironment", "The same, or the unit fails."),
    row(
        "ConditionCredential",
        "The machine was handed a credential of this name.",
    ),
    row("AssertCredential", "The same, or the unit fails."),
    row(
        "ConditionMemory",
        "The machine's memory compares so; >= where no operator stands.",
    ),
    row("AssertMemory", "The same, or the unit fails."),
    row(
        "ConditionCPUs",
        "The number of processors that PID 1 may run on compares so; >= where no operator stands.",
    ),
    row("AssertCPUs", "The same, or the unit fails."),
    row(
        "ConditionCPUFeature",
        "The processor has the feature, by the flags of /proc/cpuinfo: osxsave is taken from xsave. On arm64 none holds.",
    ),
    row("AssertCPUFeature", "The same, or the unit fails."),
    row(
        "ConditionOSRelease",
        "Fields of os-release compare so, such as ID=debian or VERSION_ID>=13.",
    ),
    row("AssertOSRelease", "The same, or the unit fails."),
    row(
        "ConditionFirmware",
        "uefi, device-tree, device-tree-compatible(NAME), or smbios-field(FIELD OPERATOR VALUE).",
    ),
    row("AssertFirmware", "The same, or the unit fails."),
    row(
        "ConditionPathIsEncrypted",
        "The path's file system lies on dm-crypt, by /sys/dev/block. Of a file system on more than one disk, such as btrfs, it does not hold.",
    ),
    row("AssertPathIsEncrypted", "The same, or the unit fails."),
    row(
        "ConditionKernelModuleLoaded",
        "The module is loaded or built in, by /sys/module (from systemd 258).",
    ),
    row("AssertKernelModuleLoaded", "The same, or the unit fails."),
    row(
        "ConditionCPUPressure",
        "[SLICE:]PERCENT[/10sec|1min|5min]: tasks, of the node or of a slice, waited for the processor for at most that part of the time, of the last 5 minutes where none is given. It holds where the kernel does not tell.",
    ),
    row("AssertCPUPressure", "The same, or the unit fails."),
    row("ConditionIOPressure", "The same of disks."),
    row("AssertIOPressure", "The same, or the unit fails."),
    row("ConditionMemoryPressure", "The same of memory."),
    row("AssertMemoryPressure", "The same, or the unit fails."),
];
