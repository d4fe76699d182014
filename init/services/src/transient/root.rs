//! The root of a unit as a detached mount: mounted nowhere until PID 1 makes it the unit's own.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};

use crate::sys::loop_device;

/// Most loop devices that are looked at.
const MAX_LOOPS: usize = 4096;
/// How often a device is looked for that others take first.
const TRIES: usize = 16;

/// A copy of a folder, with what is mounted in it.
pub(super) fn of_folder(path: &Path) -> Result<OwnedFd, String> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).map_err(|cause| format!("{}: {cause}", path.display()))
}

/// The erofs in a file. All units that have the same file share its device, and so its pages in memory; the last one
/// takes the device along.
pub(super) fn of_image(path: &Path) -> Result<OwnedFd, String> {
    let failed = |cause: std::io::Error| format!("{}: {cause}", path.display());
    let path = path.canonicalize().map_err(failed)?;
    let image = File::open(&path).map_err(failed)?;
    let (number, device) = device(&path, &image).map_err(failed)?;
    let mount = mount(&format!("/dev/loop{number}")).map_err(failed);
    // From here on the mount holds it.
    drop(device);
    mount
}

fn mount(device: &str) -> std::io::Result<OwnedFd> {
    let context = fsopen(c"erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"source", device)?;
    fsconfig_set_flag(context.as_fd(), c"ro")?;
    fsconfig_create(context.as_fd())?;
    let flags = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    Ok(fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        flags | MountAttrFlags::MOUNT_ATTR_RDONLY,
    )?)
}

/// A loop device that shows the file: its number, and the open device.
fn device(path: &Path, image: &File) -> std::io::Result<(usize, File)> {
    for _ in 0..TRIES {
        if let Some(found) = known(path) {
            return Ok(found);
        }
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control")?;
        let number = usize::try_from(loop_device::free(&control)?).unwrap_or_default();
        let device = File::open(format!("/dev/loop{number}"))?;
        match loop_device::attach(&device, image) {
            Ok(()) => return Ok((number, device)),
            // Somebody else was faster.
            Err(cause) if cause.raw_os_error() == Some(libc::EBUSY) => {}
            Err(cause) => return Err(cause),
        }
    }
    Err(std::io::Error::other("no loop device is free"))
}

/// The device that shows this file already.
fn known(path: &Path) -> Option<(usize, File)> {
    let backs = |number: usize| {
        let file = format!("/sys/block/loop{number}/loop/backing_file");
        let named = std::fs::read_to_string(file).ok()?;
        (named.trim_end_matches('\n') == path.to_str()?).then_some(number)
    };
    let entries = std::fs::read_dir("/sys/block").ok()?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let numbers = names.filter_map(|name| name.strip_prefix("loop")?.parse().ok());
    let number = numbers.take(MAX_LOOPS).find_map(backs)?;
    let device = File::open(format!("/dev/loop{number}")).ok()?;
    // Once it is open it does not go; it may have gone before.
    backs(number).map(|number| (number, device))
}
