//! `ProtectSystem=`, `PrivateTmp=`, `PrivateDevices=` and their like: ready-made walls, systemd.exec(5) "Sandboxing".

use serde::{Deserialize, Serialize};

use super::mount::Entry;
use super::{Directive, Planning, Value};
use crate::capability::CapabilitySet;
use crate::plan::{Content, Directory, DirectoryKind, ExecPlan};
use crate::unit::Unit;
use crate::value;

/// Ready-made walls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// ProtectSystem=.
    pub system: System,
    /// ProtectHome=.
    pub home: Home,
    /// ProtectKernelTunables=.
    pub kernel_tunables: bool,
    /// ProtectKernelModules=.
    pub kernel_modules: bool,
    /// ProtectKernelLogs=.
    pub kernel_logs: bool,
    /// ProtectControlGroups=.
    pub control_groups: ControlGroups,
    /// ProtectClock=.
    pub clock: bool,
    /// ProtectHostname=.
    pub host_name: bool,
    /// ProtectProc=: hidepid= of proc(5).
    pub proc: Option<String>,
    /// ProcSubset=pid.
    pub only_processes: bool,
    /// PrivateDevices=.
    pub devices: bool,
    /// PrivateTmp=.
    pub tmp: Tmp,
}

/// ProtectSystem=.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// All can be written.
    #[default]
    No,
    /// /usr and the boot loader cannot.
    Yes,
    /// Nor can /etc.
    Full,
    /// Nothing can but /dev, /proc and /sys.
    Strict,
}

/// ProtectHome=.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Home {
    /// Seen.
    #[default]
    No,
    /// Cannot be opened.
    Yes,
    /// Cannot be written.
    ReadOnly,
    /// Empty.
    Tmpfs,
}

/// ProtectControlGroups=.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlGroups {
    /// Can be written.
    #[default]
    No,
    /// Cannot.
    Yes,
    /// Only its own are seen.
    Private,
    /// Only its own are seen, and they cannot be written.
    Strict,
}

/// PrivateTmp=.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tmp {
    /// The node's.
    #[default]
    No,
    /// Folders of its own in the node's, removed when it stops.
    Yes,
    /// A tmpfs.
    Disconnected,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive::wall(
        "ProtectSystem",
        "BOOLEAN|full|strict",
        "/usr and /boot cannot be written; with full /etc neither; with strict nothing but /dev, /proc, /sys.",
        set_system,
    ),
    Directive::wall(
        "ProtectHome",
        "BOOLEAN|read-only|tmpfs",
        "/home, /root and /run/user cannot be opened, cannot be written, or are empty.",
        set_home,
    ),
    Directive::wall(
        "ProtectKernelTunables",
        "BOOLEAN",
        "/proc/sys, /sys and their like cannot be written; /proc/kallsyms and /proc/kcore not be opened.",
        set_flag,
    ),
    Directive::wall(
        "ProtectKernelModules",
        "BOOLEAN",
        "No loading of modules: no capability and no system call for it, and /usr/lib/modules cannot be opened.",
        set_flag,
    ),
    Directive::wall(
        "ProtectKernelLogs",
        "BOOLEAN",
        "No kernel log: no capability and no system call for it, and /dev/kmsg cannot be opened.",
        set_flag,
    ),
    Directive::wall(
        "ProtectClock",
        "BOOLEAN",
        "No setting of the clock: no capability and no system call for it; where devices are restricted, /dev/rtc can be read.",
        set_flag,
    ),
    Directive::wall(
        "ProtectHostname",
        "BOOLEAN",
        "A host name of its own, that it cannot set either.",
        set_flag,
    ),
    Directive::wall(
        "PrivateDevices",
        "BOOLEAN",
        "A /dev with the devices that harm nobody, and no others can be used or made.",
        set_flag,
    ),
    Directive::wall(
        "ProtectControlGroups",
        "BOOLEAN|private|strict",
        "The cgroup tree cannot be written; with private and strict only its own branch is seen.",
        set_control_groups,
    ),
    Directive::wall(
        "ProtectProc",
        "noaccess|invisible|ptraceable|default",
        "Which processes of others are seen in /proc.",
        set_proc,
    ),
    Directive::wall(
        "ProcSubset",
        "all|pid",
        "With pid, /proc holds processes and nothing else.",
        set_subset,
    ),
    Directive::wall(
        "PrivateTmp",
        "BOOLEAN|disconnected",
        "/tmp and /var/tmp of its own, removed when it stops; with disconnected they are in memory.",
        set_tmp,
    ),
];

fn set_system(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.protection.system = match value.text {
        "full" => System::Full,
        "strict" => System::Strict,
        "" => System::No,
        text if value::boolean(text)? => System::Yes,
        _ => System::No,
    };
    Ok(())
}

fn set_home(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.protection.home = match value.text {
        "read-only" => Home::ReadOnly,
        "tmpfs" => Home::Tmpfs,
        "" => Home::No,
        text if value::boolean(text)? => Home::Yes,
        _ => Home::No,
    };
    Ok(())
}

fn set_control_groups(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.protection.control_groups = match value.text {
        "private" => ControlGroups::Private,
        "strict" => ControlGroups::Strict,
        "" => ControlGroups::No,
        text if value::boolean(text)? => ControlGroups::Yes,
        _ => ControlGroups::No,
    };
    Ok(())
}

fn set_flag(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let on = !value.is_reset() && value::boolean(value.text)?;
    let protection = &mut unit.service.protection;
    match value.name {
        "ProtectKernelTunables" => protection.kernel_tunables = on,
        "ProtectKernelModules" => protection.kernel_modules = on,
        "ProtectKernelLogs" => protection.kernel_logs = on,
        "ProtectClock" => protection.clock = on,
        "ProtectHostname" => protection.host_name = on,
        _ => protection.devices = on,
    }
    Ok(())
}

fn set_proc(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.protection.proc = match value.text {
        "" | "default" => None,
        "noaccess" | "invisible" | "ptraceable" => Some(value.text.into()),
        other => {
            return Err(format!(
                "{other:?} is not noaccess, invisible, ptraceable or default"
            ));
        }
    };
    Ok(())
}

fn set_subset(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.protection.only_processes = match value.text {
        "" | "all" => false,
        "pid" => true,
        other => return Err(format!("{other:?} is not all or pid")),
    };
    Ok(())
}

fn set_tmp(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.protection.tmp = match value.text {
        "disconnected" => Tmp::Disconnected,
        "" => Tmp::No,
        text if value::boolean(text)? => Tmp::Yes,
        _ => Tmp::No,
    };
    Ok(())
}

/// The walls of a unit, with those that DynamicUser= brings.
pub(super) fn of(unit: &Unit) -> Protection {
    let mut protection = unit.service.protection.clone();
    if unit.service.identity.dynamic {
        protection.system = System::Strict;
        if protection.home == Home::No {
            protection.home = Home::ReadOnly;
        }
        if protection.tmp == Tmp::No {
            protection.tmp = Tmp::Yes;
        }
    }
    protection
}

/// Capabilities that a unit loses to its walls.
pub(super) fn lost(unit: &Unit) -> CapabilitySet {
    let protection = &unit.service.protection;
    let lost = [
        (protection.devices, "CAP_MKNOD"),
        (protection.devices, "CAP_SYS_RAWIO"),
        (protection.kernel_modules, "CAP_SYS_MODULE"),
        (protection.kernel_logs, "CAP_SYSLOG"),
        (protection.clock, "CAP_SYS_TIME"),
        (protection.clock, "CAP_WAKE_ALARM"),
    ];
    let named = lost.iter().filter(|(on, _)| *on);
    let sets = named.filter_map(|(_, name)| CapabilitySet::named(name));
    CapabilitySet(sets.fold(0, |all, set| all | set.0))
}

/// Whether a unit's walls need a mount namespace even where no path is changed.
pub(super) fn wants_mounts(planning: &Planning<'_>) -> bool {
    let protection = of(planning.unit);
    protection.kernel_tunables || protection.control_groups != ControlGroups::No
}

/// Files of the kernel that ProtectKernelTunables= makes read-only.
const TUNABLES: [&str; 13] = [
    "/proc/acpi",
    "/proc/apm",
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/latency_stats",
    "/proc/mtrr",
    "/proc/scsi",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/timer_stats",
    "/sys",
];

/// File systems below /sys that ProtectKernelTunables= leaves as they are.
const LEFT_WRITABLE: [&str; 5] = [
    "/sys/fs/bpf",
    "/sys/fs/cgroup",
    "/sys/fs/selinux",
    "/sys/kernel/debug",
    "/sys/kernel/tracing",
];

/// What the walls of a unit ask of paths. Each may be missing.
pub(super) fn entries(planning: &Planning<'_>) -> Vec<Entry> {
    let protection = of(planning.unit);
    let mut entries = Vec::new();
    let all = |paths: &[&str], entry: fn(&str) -> Entry| -> Vec<Entry> {
        paths.iter().map(|path| entry(path)).collect()
    };
    entries.extend(system(protection.system));
    let homes = ["/home", "/root", "/run/user"];
    entries.extend(match protection.home {
        Home::No => Vec::new(),
        Home::Yes => all(&homes, Entry::inaccessible),
        Home::ReadOnly => all(&homes, Entry::read_only),
        Home::Tmpfs => all(&homes, |path| tmpfs(path, "mode=0755").unwritable()),
    });
    if protection.kernel_tunables {
        entries.extend(all(&TUNABLES, Entry::read_only));
        entries.extend(all(&LEFT_WRITABLE, Entry::stays_read_write));
        entries.extend(all(&["/proc/kallsyms", "/proc/kcore"], Entry::inaccessible));
    }
    if protection.kernel_modules {
        entries.push(Entry::inaccessible("/usr/lib/modules"));
    }
    if protection.kernel_logs {
        entries.extend(all(&["/proc/kmsg", "/dev/kmsg"], Entry::inaccessible));
    }
    let cgroups = "/sys/fs/cgroup";
    entries.extend(match protection.control_groups {
        ControlGroups::No => None,
        ControlGroups::Yes => Some(Entry::read_only(cgroups)),
        ControlGroups::Private => Some(Entry::new(cgroups, Content::Cgroups)),
        ControlGroups::Strict => Some(Entry::new(cgroups, Content::Cgroups).unwritable()),
    });
    let namespaces = &planning.unit.service.namespaces;
    if protection.proc.is_some() || protection.only_processes || namespaces.processes {
        let content = Content::Proc {
            hide: protection.proc.clone(),
            only_processes: protection.only_processes,
        };
        entries.push(Entry::new("/proc", content));
    }
    if protection.devices {
        entries.push(Entry::new("/dev", Content::Devices).unwritable());
    }
    if namespaces.ipc && namespaces.ipc_path.is_none() {
        entries.push(Entry::new("/dev/mqueue", Content::Queues));
    }
    entries.extend(tmp(planning, protection.tmp));
    entries
        .into_iter()
        .map(|entry| entry.missing_ok(true))
        .collect()
}

fn system(system: System) -> Vec<Entry> {
    let read_only = ["/usr", "/boot", "/efi", "/etc"];
    let count = match system {
        System::No => 0,
        System::Yes => 3,
        System::Full => 4,
        System::Strict => {
            let left = ["/dev", "/proc", "/sys", "/home", "/root", "/run/user"];
            let left = left.iter().map(|path| Entry::stays_read_write(path));
            return left.chain([Entry::read_only("/")]).collect();
        }
    };
    let paths = read_only.iter().take(count);
    paths.map(|path| Entry::read_only(path)).collect()
}

fn tmpfs(path: &str, options: &str) -> Entry {
    let options = options.into();
    Entry::new(path, Content::Tmpfs { options })
}

/// Folders that are temporary to everybody.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

fn tmp(planning: &Planning<'_>, tmp: Tmp) -> Vec<Entry> {
    let entry = |path: &&str| match tmp {
        Tmp::No => None,
        Tmp::Yes => {
            let source = format!("{}/tmp", private(planning, path));
            Some(Entry::bind(&source, path, false))
        }
        Tmp::Disconnected => Some(tmpfs(path, "mode=1777,size=10%,nr_inodes=1m")),
    };
    TEMPORARY.iter().filter_map(entry).collect()
}

/// Whether a folder is one of PrivateTmp=, which no run leaves to the next.
pub fn is_private_tmp(path: &str) -> bool {
    let mut folders = TEMPORARY.iter();
    folders.any(|folder| {
        let name = path.strip_prefix(folder);
        name.is_some_and(|name| name.starts_with("/systemd-private-"))
    })
}

/// The folder in a temporary folder that is one run's own: nobody can know its name before the run.
fn private(planning: &Planning<'_>, path: &str) -> String {
    let mut variables = planning.variables.iter();
    let run = variables.find(|(name, _)| name == "INVOCATION_ID");
    let run = run.map_or("", |(_, id)| id.as_str());
    format!("{path}/systemd-private-{run}-{}", planning.unit.name)
}

/// The folders of PrivateTmp= are made before they are mounted.
pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    if planning.command.privileged {
        return Ok(());
    }
    let protection = of(planning.unit);
    if protection.tmp == Tmp::Yes {
        for path in TEMPORARY {
            let folder = private(planning, path);
            let inner = format!("{folder}/tmp");
            plan.directories.push(root_folder(folder, 0o700, true));
            plan.directories.push(root_folder(inner, 0o1777, false));
        }
    }
    let own = ControlGroups::Private == protection.control_groups
        || ControlGroups::Strict == protection.control_groups;
    plan.namespaces.cgroup = own;
    plan.namespaces.host_name = protection.host_name;
    plan.seccomp.clock = protection.clock;
    plan.seccomp.hostname = protection.host_name;
    plan.seccomp.kernel_modules = protection.kernel_modules;
    plan.seccomp.kernel_logs = protection.kernel_logs;
    plan.seccomp.kernel_tunables = protection.kernel_tunables;
    plan.seccomp.private_devices = protection.devices;
    plan.seccomp.suid_sgid = planning.unit.service.identity.dynamic;
    Ok(())
}

fn root_folder(path: String, mode: u32, remove: bool) -> Directory {
    Directory {
        kind: DirectoryKind::PrivateTmp,
        path,
        mode,
        remove,
        ..Directory::default()
    }
}

#[cfg(test)]
mod tests;
