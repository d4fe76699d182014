//! From the initramfs into the root: the API mounts move along, the initramfs is emptied so that its memory comes
//! back, and PID 1 of the root takes this process over.
//!
//! Source: switch_root(8), Documentation/filesystems/ramfs-rootfs-initramfs.rst.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::error::{Error, Result, What};
use crate::sys::watchdog::INHERITED;

/// What moves along.
const MOVED: [&str; 4] = ["dev", "proc", "sys", "run"];

/// Enters the root and executes its PID 1, which finds the armed watchdog under its number; returns only if that failed.
pub(super) fn enter(root: &Path, init: &Path, watchdog: Option<i32>) -> Error {
    if let Err(error) = move_into(root) {
        return error;
    }
    let mut command = Command::new(init);
    command.env_clear();
    if let Some(number) = watchdog {
        command.env(INHERITED, number.to_string());
    }
    let cause = command.exec();
    Error::new(What::SwitchRoot, format!("{}: {cause}", init.display()))
}

fn move_into(root: &Path) -> Result<()> {
    let failed = |place: &Path| Error::at(What::SwitchRoot, place.display().to_string());
    let old = rustix::fs::open("/", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed(root))?;
    for name in MOVED {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        rustix::mount::mount_move(&from, &to).map_err(failed(&to))?;
    }
    rustix::process::chdir(root).map_err(failed(root))?;
    rustix::mount::mount_move(".", "/").map_err(failed(root))?;
    rustix::process::chroot(".").map_err(failed(root))?;
    rustix::process::chdir("/").map_err(failed(root))?;
    let device = rustix::fs::fstat(&old).map_err(failed(root))?.st_dev;
    empty(&old, device, 32);
    Ok(())
}

/// Removes what is in a folder of the old root, never across a mount. What cannot be removed only costs memory.
fn empty(folder: &impl std::os::fd::AsFd, device: u64, depth: usize) {
    let Ok(entries) = Dir::read_from(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let same = |found: rustix::fs::Stat| {
            (found.st_dev == device).then(|| FileType::from_raw_mode(found.st_mode))
        };
        let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .and_then(same);
        let removed = match found {
            None => continue,
            Some(FileType::Directory) => {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                if let (Ok(inner), true) = (
                    rustix::fs::openat(folder, name, flags, Mode::empty()),
                    depth > 0,
                ) {
                    empty(&inner, device, depth - 1);
                }
                rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)
            }
            Some(_) => rustix::fs::unlinkat(folder, name, AtFlags::empty()),
        };
        if let Err(cause) = removed {
            use std::os::unix::ffi::OsStrExt as _;
            crate::debug!(
                "initramfs keeps {}: {cause}",
                OsStr::from_bytes(name.to_bytes()).display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_emptied_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), "x").unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/c"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("a/link")).unwrap();
        let open = std::fs::File::open(folder.path()).unwrap();
        let device = rustix::fs::fstat(&open).unwrap().st_dev;
        empty(&open, device, 32);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(outside.path().join("kept").exists());
    }
}
