//! The \[Mount\] section: a file system and where it belongs. systemd.mount(5).
//!
//! There is no mount(8) on a node: PID 1's child makes the system calls. So options are taken apart here, those for the
//! kernel from those for programs ([`options`]), and what only a program of the host could do refuses the unit.

use serde::{Deserialize, Serialize};

use super::dependency::{Dependencies, Relation};
use super::{Directive, Support, Value};
use crate::finding::Place;
use crate::name::{self, UnitType};
use crate::plan::mount_point::{BIND, MAX_DATA, MountCall};
use crate::unit::Unit;
use crate::value;

pub mod options;

/// What a mount may take where nothing is given: systemd's DefaultTimeoutStartSec=.
const TIMEOUT_US: u64 = 90_000_000;
/// Mounted before the first unit, and by no unit: as in systemd.
const API: [&str; 11] = [
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/dev/shm",
    "/dev/pts",
    "/sys/fs/cgroup",
    "/sys/fs/bpf",
    "/sys/fs/pstore",
    "/sys/kernel/security",
    "/sys/firmware/efi/efivars",
];

/// The \[Mount\] section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// What=, a tag such as LABEL= made into the link below /dev.
    pub what: Option<String>,
    /// Where=, if given.
    pub given: Option<String>,
    /// Type=.
    pub kind: Option<String>,
    /// Options=.
    pub options: String,
    /// LazyUnmount=.
    pub lazy: bool,
    /// ForceUnmount=.
    pub force: bool,
    /// ReadWriteOnly=.
    pub read_write_only: bool,
    /// DirectoryMode=.
    pub mode: u32,
    /// TimeoutSec=; [`u64::MAX`] is for ever.
    pub timeout_us: u64,
}

impl Default for MountPoint {
    fn default() -> Self {
        Self {
            what: None,
            given: None,
            kind: None,
            options: String::new(),
            lazy: false,
            force: false,
            read_write_only: false,
            mode: 0o755,
            timeout_us: TIMEOUT_US,
        }
    }
}

const fn row(
    name: &'static str,
    value: &'static str,
    documentation: &'static str,
    set: fn(&mut Unit, &Value<'_>) -> Result<(), String>,
) -> Directive {
    Directive {
        section: "Mount",
        name,
        value,
        documentation,
        support: Support::Must(set),
    }
}

const fn flag(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Mount",
        name,
        value: "BOOLEAN",
        documentation,
        support: Support::Set(set_flag),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row(
        "What",
        "NODE|PATH|LABEL=|UUID=|PARTUUID=|PARTLABEL=|WORD",
        "What is mounted; of a node below /dev the device unit is required.",
        set_what,
    ),
    row(
        "Where",
        "PATH",
        "Where; the unit's name is this path, escaped, or the unit is refused.",
        set_where,
    ),
    row(
        "Type",
        "NAME",
        "Type of the file system; without it, or with auto, it is found out by what stands on the device.",
        set_kind,
    ),
    row(
        "Options",
        "OPTION,...",
        "As for mount(8). What only programs there know (nofail, _netdev, x-*, user and their like) means what it means to systemd; loop=, and file systems that need a program to be mounted, refuse the unit: a node has none.",
        set_options,
    ),
    Directive {
        section: "Mount",
        name: "SloppyOptions",
        value: "BOOLEAN",
        documentation: "Asks a helper program to take options that it does not know; there are none, and the kernel takes or refuses.",
        support: Support::NoEffect,
    },
    flag(
        "LazyUnmount",
        "The file system goes from the tree at once, and itself when nothing uses it any more.",
    ),
    flag(
        "ReadWriteOnly",
        "Fail where only reading is possible; otherwise it is mounted read-only then.",
    ),
    flag(
        "ForceUnmount",
        "Unmount a network file system whose server does not answer (MNT_FORCE).",
    ),
    row(
        "DirectoryMode",
        "MODE",
        "Mode of folders made on the way to Where=; 0755.",
        set_mode,
    ),
    row(
        "TimeoutSec",
        "SPAN",
        "Longest time of a mount, and of an unmount, until its process is killed: 90 s; 0 is for ever.",
        set_timeout,
    ),
];

/// What of a service's process, its resources and its end may stand in \[Mount\] too, and says nothing here.
const NO_PROGRAM: Directive = Directive {
    section: "Mount",
    name: "",
    value: "see systemd",
    documentation: "About mount(8), which a node does not have.",
    support: Support::NoEffect,
};

/// The families of which systemd takes rows in \[Mount\].
const OF_A_PROCESS: [&[Directive]; 28] = [
    super::address::ROWS,
    super::capability::ROWS,
    super::credential::ROWS,
    super::device::ROWS,
    super::directory::ROWS,
    super::environment::ROWS,
    super::identity::ROWS,
    super::isolation::ROWS,
    super::keyring::ROWS,
    super::kill::ROWS,
    super::limit::ROWS,
    super::mount::ROWS,
    super::namespace::ROWS,
    super::process::ROWS,
    super::protect::ROWS,
    super::resource::cpu::ROWS,
    super::resource::delegate::ROWS,
    super::resource::io::ROWS,
    super::resource::managed_oom::ROWS,
    super::resource::memory::ROWS,
    super::resource::oom::ROWS,
    super::resource::startup::ROWS,
    super::root::ROWS,
    super::scheduling::ROWS,
    super::seccomp::ROWS,
    super::stdio::ROWS,
    super::working_directory::ROWS,
    super::other::ROWS,
];

/// The row of a directive that \[Mount\] takes from those of processes.
pub(super) fn of_a_process(name: &str) -> Option<&'static Directive> {
    let mut rows = OF_A_PROCESS.into_iter().flatten();
    rows.find(|row| row.section == "Service" && row.name == name)
        .map(|_| &NO_PROGRAM)
}

fn set_what(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let text = value.expanded();
    if text.contains(['\n', '\0']) || text.len() > MAX_DATA {
        return Err("is not one line".into());
    }
    unit.mount_point.what = (!text.is_empty()).then(|| options::node_of_tag(&text));
    Ok(())
}

fn set_where(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let text = value.expanded();
    unit.mount_point.given = match text.as_str() {
        "" => None,
        text => Some(value::path(text)?),
    };
    Ok(())
}

fn set_kind(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let text = value.expanded();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if !text.bytes().all(plain) || text.len() > 64 {
        return Err(format!("{text:?} is not the name of a file system"));
    }
    unit.mount_point.kind = (!text.is_empty() && text != "auto").then_some(text);
    Ok(())
}

fn set_options(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let text = value.expanded();
    if text.contains(['\n', '\0']) || text.len() > MAX_DATA {
        return Err(format!("is longer than {MAX_DATA} bytes or not one line"));
    }
    options::parse(&text)?;
    unit.mount_point.options = text;
    Ok(())
}

fn set_flag(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let on = value::boolean(value.text)?;
    let mount = &mut unit.mount_point;
    match value.name {
        "LazyUnmount" => mount.lazy = on,
        "ForceUnmount" => mount.force = on,
        _ => mount.read_write_only = on,
    }
    Ok(())
}

fn set_mode(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.mount_point.mode = value::mode(value.text)?;
    Ok(())
}

fn set_timeout(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let span = match value.is_reset() {
        true => Some(TIMEOUT_US),
        false => value::span_us(value.text)?,
    };
    let endless = |span: &u64| *span > 0;
    unit.mount_point.timeout_us = span.filter(endless).unwrap_or(u64::MAX);
    Ok(())
}

/// Where a mount unit belongs, by its name.
pub fn target(name: &str) -> String {
    let stem = name.strip_suffix(".mount").unwrap_or(name);
    match stem {
        "-" => "/".into(),
        stem => format!("/{}", name::unescape(stem)),
    }
}

/// Why this can be no mount unit of systemd's.
pub(crate) fn contradiction(unit: &Unit) -> Option<String> {
    let mount = &unit.mount_point;
    let target = target(&unit.name);
    let refuse = |why: String| Some(format!("{why}; the unit is refused"));
    // Whatever Where= says: of "a--b" and "a-b" only one is the path's name.
    if name::of_path(&target, UnitType::Mount).as_ref() != Some(&unit.name) {
        return refuse(format!("{} is not an escaped path", unit.name));
    }
    if let Some(given) = mount.given.as_ref().filter(|given| **given != target) {
        let wanted = name::of_path(given, UnitType::Mount).unwrap_or_default();
        return refuse(format!(
            "Where={given} does not match the unit's name; call it {wanted}"
        ));
    }
    if API.contains(&target.as_str()) || target.starts_with("/sys/fs/cgroup/") {
        return refuse(format!(
            "{target} is an API file system, which PID 1 sees to itself"
        ));
    }
    if unit.fragment.is_some() && mount.what.is_none() {
        return refuse("has no What=".into());
    }
    let why = call(unit).err()?;
    refuse(why)
}

/// The system calls that mount it.
pub fn call(unit: &Unit) -> Result<MountCall, String> {
    let mount = &unit.mount_point;
    let parsed = options::parse(&mount.options)?;
    if let Some(kind) = &mount.kind {
        options::check_kind(kind, &parsed)?;
    }
    Ok(MountCall {
        what: mount.what.clone().unwrap_or_default(),
        target: target(&unit.name),
        kind: mount.kind.clone(),
        flags: parsed.flags,
        propagation: parsed.propagation,
        data: parsed.data,
        mode: mount.mode,
        read_write_only: mount.read_write_only,
    })
}

/// What nobody writes down: on the device, the folders on the way, and the targets of local and remote file systems.
/// Paths whose mounts it needs come back.
pub(crate) fn imply(unit: &mut Unit, at: &Place) -> Vec<String> {
    let (mount, target) = (&unit.mount_point, target(&unit.name));
    let parsed = options::parse(&mount.options).unwrap_or_default();
    let network = parsed.netdev || mount.kind.as_deref().is_some_and(options::is_network);
    let bind = parsed.flags & BIND != 0;
    let mut paths = Vec::new();
    if let Some((parent, _)) = target.rsplit_once('/').filter(|_| target != "/") {
        paths.push(if parent.is_empty() { "/" } else { parent }.to_string());
    }
    let what = mount.what.clone().unwrap_or_default();
    if what.starts_with('/') && !what.starts_with("/dev/") && (bind || !network) {
        paths.push(what.clone());
    }
    let dependencies = &mut unit.dependencies;
    if what.starts_with("/dev/") && !bind && target != "/" && what != "/dev/root" {
        depend_on_device(dependencies, &what, parsed.device_bound, at);
    }
    if dependencies.default && unit.fragment.is_some() && target != "/" && target != "/usr" {
        let tmpfs = mount.kind.as_deref() == Some("tmpfs");
        let awaited = !(parsed.nofail || parsed.wanted_elsewhere);
        depend_on_targets(dependencies, network, tmpfs, awaited, at);
    }
    paths
}

fn depend_on_device(on: &mut Dependencies, what: &str, bound: Option<bool>, at: &Place) {
    let Some(device) = name::of_path(what, UnitType::Device) else {
        return;
    };
    let relations: &[Relation] = match bound {
        Some(true) => &[Relation::BindsTo],
        Some(false) => &[Relation::Requires],
        None => &[Relation::Requires, Relation::StopPropagatedFrom],
    };
    for relation in relations.iter().chain(&[Relation::After]) {
        on.imply(*relation, &device, at.clone());
    }
}

fn depend_on_targets(on: &mut Dependencies, network: bool, tmpfs: bool, awaited: bool, at: &Place) {
    let mut imply = |relation, name| on.imply(relation, name, at.clone());
    if network {
        for early in [
            "remote-fs-pre.target",
            "network.target",
            "network-online.target",
        ] {
            imply(Relation::After, early);
        }
        imply(Relation::Wants, "network-online.target");
    } else {
        imply(Relation::After, "local-fs-pre.target");
    }
    if awaited {
        let late = if network {
            "remote-fs.target"
        } else {
            "local-fs.target"
        };
        imply(Relation::Before, late);
    }
    if tmpfs {
        imply(Relation::After, "swap.target");
    }
    imply(Relation::Before, "umount.target");
    imply(Relation::Conflicts, "umount.target");
}

#[cfg(test)]
mod tests;
