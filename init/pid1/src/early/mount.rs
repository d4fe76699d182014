//! The kernel's API file systems, as tables; both stages mount from here.
//!
//! Source: systemd's mount-setup, the kernel's documentation of each file system.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::modules::Loader;
use crate::error::{Error, Result, What};

/// A mount of the table.
struct Api {
    target: &'static str,
    kind: &'static str,
    flags: MountFlags,
    options: &'static str,
    need: Need,
}

#[derive(PartialEq)]
enum Need {
    /// Nothing works without it.
    Must,
    /// The kernel may not have it, or this machine no use for it.
    May,
}

const fn row(
    target: &'static str,
    kind: &'static str,
    flags: MountFlags,
    options: &'static str,
    need: Need,
) -> Api {
    Api {
        target,
        kind,
        flags,
        options,
        need,
    }
}

const NOSUID: MountFlags = MountFlags::NOSUID;
const NODEV: MountFlags = MountFlags::NODEV.union(NOSUID);
const NOEXEC: MountFlags = MountFlags::NOEXEC.union(NODEV);
const TERMINAL: MountFlags = MountFlags::NOEXEC.union(NOSUID);

/// What both stages need; it moves into the root.
const FIRST: &[Api] = &[
    row("/proc", "proc", NOEXEC, "", Need::Must),
    row("/sys", "sysfs", NOEXEC, "", Need::Must),
    row("/dev", "devtmpfs", NOSUID, "mode=0755,size=4m", Need::Must),
    row(
        "/run",
        "tmpfs",
        NODEV,
        "mode=0755,size=20%,nr_inodes=800k",
        Need::Must,
    ),
];

/// What only the root needs.
const LATER: &[Api] = &[
    row(
        "/dev/pts",
        "devpts",
        TERMINAL,
        "mode=0620,gid=5,ptmxmode=0666",
        Need::Must,
    ),
    row("/dev/shm", "tmpfs", NODEV, "mode=1777,size=50%", Need::Must),
    row("/dev/mqueue", "mqueue", NOEXEC, "", Need::May),
    row("/dev/hugepages", "hugetlbfs", NODEV, "mode=0755", Need::May),
    row(
        "/sys/fs/cgroup",
        "cgroup2",
        NOEXEC,
        "nsdelegate,memory_recursiveprot",
        Need::Must,
    ),
    row("/sys/fs/bpf", "bpf", NOEXEC, "mode=0700", Need::May),
    row("/sys/fs/pstore", "pstore", NOEXEC, "", Need::May),
    row("/sys/kernel/security", "securityfs", NOEXEC, "", Need::May),
    row(
        "/tmp",
        "tmpfs",
        NODEV,
        "mode=1777,size=50%,nr_inodes=1m",
        Need::Must,
    ),
];

/// /proc, /sys, /dev, /run: before anything else, and nothing can be said before they are there.
pub(crate) fn first() -> Result<()> {
    FIRST.iter().try_for_each(mount_if_absent)
}

/// The rest, in the root.
pub(crate) fn later() -> Result<()> {
    LATER.iter().try_for_each(|api| match api.kind {
        "bpf" => without_modprobe(|| mount_if_absent(api)),
        _ => mount_if_absent(api),
    })
}

/// With bpf the kernel would run modprobe for programs that Debian does not build.
fn without_modprobe(mount: impl FnOnce() -> Result<()>) -> Result<()> {
    const PATH: &str = "/proc/sys/kernel/modprobe";
    let Ok(modprobe) = std::fs::read(PATH) else {
        return mount();
    };
    // If that fails it only takes longer.
    let _ = std::fs::write(PATH, "\n");
    let mounted = mount();
    if let Err(cause) = std::fs::write(PATH, modprobe) {
        crate::error::settle(&Error::new(What::Kernel, format!("{PATH}: {cause}")));
    }
    mounted
}

/// EFI variables, on machines started by EFI; read-only, so that nothing can brick the firmware by accident.
pub(crate) fn efi_variables(modules: &mut Loader) -> Result<()> {
    const TARGET: &str = "/sys/firmware/efi/efivars";
    if !Path::new(TARGET).exists() {
        return Ok(());
    }
    modules.load("efivarfs")?;
    mount_if_absent(&row(
        TARGET,
        "efivarfs",
        NOEXEC.union(MountFlags::RDONLY),
        "",
        Need::May,
    ))
}

/// The verified root, read-only.
pub(super) fn root(device: &Path, target: &Path) -> Result<()> {
    std::fs::create_dir_all(target).map_err(Error::at(What::RootMount, target.display()))?;
    mount(
        device,
        target,
        c"erofs",
        MountFlags::RDONLY | MountFlags::NODEV,
        None,
    )
    .map_err(Error::at(What::RootMount, device.display()))
}

fn mount_if_absent(api: &Api) -> Result<()> {
    let target = Path::new(api.target);
    if is_mount_point(target) {
        return Ok(());
    }
    if (api.need == Need::Must || target.starts_with("/dev")) && !target.exists() {
        std::fs::create_dir_all(target).map_err(Error::at(What::ApiMounts, api.target))?;
    }
    let options =
        std::ffi::CString::new(api.options).map_err(Error::at(What::ApiMounts, api.target))?;
    match mount(api.kind, target, api.kind, api.flags, options.as_c_str()) {
        Ok(()) => Ok(()),
        Err(Errno::NODEV | Errno::NOENT | Errno::OPNOTSUPP) if api.need == Need::May => Ok(()),
        Err(cause) => Err(Error::new(
            What::ApiMounts,
            format!("{}: {cause}", api.target),
        )),
    }
}

/// Whether something is mounted exactly here.
pub(crate) fn is_mount_point(path: &Path) -> bool {
    const MOUNT_ROOT: u64 = 0x2000;
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    statx(
        CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        StatxFlags::empty(),
    )
    .is_ok_and(|found| found.stx_attributes.bits() & MOUNT_ROOT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_told_from_a_folder() {
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(Path::new("/proc/self")));
        assert!(!is_mount_point(Path::new("/nowhere")));
    }

    #[test]
    fn nothing_that_people_write_to_can_hold_devices_or_setuid() {
        for api in FIRST.iter().chain(LATER) {
            assert!(api.flags.contains(MountFlags::NOSUID), "{}", api.target);
            let devices = matches!(api.target, "/dev" | "/dev/pts");
            assert!(
                devices || api.flags.contains(MountFlags::NODEV),
                "{}",
                api.target
            );
        }
    }
}
