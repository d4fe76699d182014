//! Mounting and unmounting what a mount unit says: by a child, as a dead disk or server may keep it for ever.
//!
//! Source: mount(2), umount2(2), mount(8).

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_move,
    mount_remount, unmount,
};
use spec_unit::directive::mount_point::MountPoint;
use spec_unit::plan::mount_point::{BIND, MOVE, MountCall, READ_ONLY, RECURSIVE, REMOUNT};

use crate::sys::clone::{self, Child};

/// How many mounts, one over the other, an unmount takes off.
const LAYERS: usize = 32;
/// Flags that are set for a mount by themselves and not for its file system: a bind mount takes them by a second call.
const OF_A_MOUNT: u32 = 1 | 2 | 4 | 8 | 256 | 1 << 10 | 1 << 11 | 1 << 21 | 1 << 24;

/// Begins to mount. The child's exit code is 0, or the number of the kernel's error, which the log explains.
pub(super) fn begin(unit: &str, call: &MountCall) -> io::Result<Child> {
    clone::worker(|| told(unit, carry_out(unit, call)))
}

/// Begins to unmount all that is mounted there, in the same way.
pub(super) fn begin_to_undo(unit: &str, target: &str, settings: &MountPoint) -> io::Result<Child> {
    let mut flags = UnmountFlags::NOFOLLOW;
    flags.set(UnmountFlags::DETACH, settings.lazy);
    flags.set(UnmountFlags::FORCE, settings.force);
    clone::worker(|| told(unit, undo(target, flags)))
}

fn told(unit: &str, done: io::Result<()>) -> i32 {
    match done {
        Ok(()) => 0,
        Err(cause) => {
            crate::error!("{unit}: {cause}");
            let number = cause.raw_os_error().unwrap_or(libc::EINVAL);
            number.clamp(1, 254)
        }
    }
}

fn carry_out(unit: &str, call: &MountCall) -> io::Result<()> {
    let target = Path::new(&call.target);
    let moves = call.flags & (BIND | MOVE) != 0;
    if call.flags & REMOUNT == 0 {
        let is_file = moves && fs::metadata(&call.what).is_ok_and(|what| !what.is_dir());
        make_target(target, call.mode, is_file)?;
    }
    if call.flags & MOVE != 0 {
        mount_move(call.what.as_str(), target)?;
    } else if call.flags & REMOUNT != 0 {
        let flags = MountFlags::from_bits_retain(call.flags & !REMOUNT);
        mount_remount(target, flags, data(call)?.as_c_str())?;
    } else if moves {
        bind(call, target)?;
    } else {
        make(unit, call, target)?;
    }
    for change in &call.propagation {
        let change = MountPropagationFlags::from_bits_retain(*change);
        mount_change(target, change)?;
    }
    Ok(())
}

fn data(call: &MountCall) -> io::Result<CString> {
    CString::new(call.data.as_str()).map_err(|_| ErrorKind::InvalidInput.into())
}

/// A folder or file at a second place. What holds for the mount alone is set by a second call.
fn bind(call: &MountCall, target: &Path) -> io::Result<()> {
    let first = MountFlags::from_bits_retain(call.flags & (BIND | RECURSIVE));
    mount(call.what.as_str(), target, c"none", first, c"")?;
    let more = call.flags & OF_A_MOUNT;
    if more == 0 {
        return Ok(());
    }
    let more = MountFlags::from_bits_retain(more | BIND);
    mount_remount(target, more, c"").map_err(|cause| {
        let _ = unmount(target, UnmountFlags::NOFOLLOW);
        cause.into()
    })
}

/// A file system of its own; read-only where it cannot be otherwise, unless that is no use.
fn make(unit: &str, call: &MountCall, target: &Path) -> io::Result<()> {
    let kind = match &call.kind {
        Some(kind) => kind.clone(),
        None => found(&call.what)?,
    };
    let data = data(call)?;
    let with = |flags: u32| {
        let flags = MountFlags::from_bits_retain(flags);
        mount(
            call.what.as_str(),
            target,
            kind.as_str(),
            flags,
            data.as_c_str(),
        )
    };
    match with(call.flags) {
        Err(rustix::io::Errno::ROFS | rustix::io::Errno::ACCESS)
            if call.flags & READ_ONLY == 0 && !call.read_write_only =>
        {
            with(call.flags | READ_ONLY)?;
            crate::warning!("{unit}: {} cannot be written; mounted read-only", call.what);
            Ok(())
        }
        mounted => Ok(mounted?),
    }
}

/// Makes a mount point and the folders above it. A symbolic link on the way is refused, as by systemd: the mount would
/// be elsewhere than its unit says.
fn make_target(target: &Path, mode: u32, is_file: bool) -> io::Result<()> {
    let mut path = PathBuf::from("/");
    let parts: Vec<Component<'_>> = target.components().skip(1).collect();
    for (at, part) in parts.iter().enumerate() {
        path.push(part);
        let last = at + 1 == parts.len();
        match fs::symlink_metadata(&path) {
            Ok(status) if status.is_symlink() => {
                crate::error!(
                    "{}: {} is a symbolic link",
                    target.display(),
                    path.display()
                );
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            Ok(_) => {}
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                match last && is_file {
                    true => drop(File::create_new(&path)?),
                    false => fs::DirBuilder::new().mode(mode).create(&path)?,
                };
            }
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

fn undo(target: &str, flags: UnmountFlags) -> io::Result<()> {
    for layer in 0..LAYERS {
        match unmount(target, flags) {
            Ok(()) => {}
            // Nothing is left of what was mounted there.
            Err(rustix::io::Errno::INVAL) if layer > 0 => return Ok(()),
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(())
}

/// How file systems begin that a node may have: where, and with what.
const MAGIC: [(&str, u64, &[u8]); 8] = [
    ("ext4", 0x438, b"\x53\xef"),
    ("xfs", 0, b"XFSB"),
    ("btrfs", 0x1_0040, b"_BHRfS_M"),
    ("erofs", 0x400, b"\xe2\xe1\xf5\xe0"),
    ("squashfs", 0, b"hsqs"),
    ("vfat", 0x52, b"FAT32   "),
    ("vfat", 0x36, b"FAT16   "),
    ("iso9660", 0x8001, b"CD001"),
];

/// The type of the file system on a device.
fn found(what: &str) -> io::Result<String> {
    let mut device = File::open(what).map_err(|cause| {
        crate::error!("{what}: {cause}");
        cause
    })?;
    for (kind, place, magic) in MAGIC {
        let mut bytes = vec![0; magic.len()];
        let read = device
            .seek(SeekFrom::Start(place))
            .and_then(|_| device.read_exact(&mut bytes));
        if read.is_ok() && bytes == magic {
            return Ok(kind.into());
        }
    }
    crate::error!("{what}: no file system is known on it; give Type=");
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_known_by_its_magic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let mut bytes = vec![0; 0x9000];
        fs::write(&path, &bytes).unwrap();
        assert!(found(path.to_str().unwrap()).is_err());
        bytes[0x438..0x43a].copy_from_slice(b"\x53\xef");
        fs::write(&path, &bytes).unwrap();
        assert_eq!(found(path.to_str().unwrap()).unwrap(), "ext4");
        assert!(found("/no/such/disk").is_err());
    }

    #[test]
    fn a_mount_point_is_made_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        make_target(&base.join("a/b"), 0o700, false).unwrap();
        assert!(base.join("a/b").is_dir());
        make_target(&base.join("a/file"), 0o700, true).unwrap();
        assert!(base.join("a/file").is_file());
        std::os::unix::fs::symlink("a", base.join("link")).unwrap();
        let refused = make_target(&base.join("link/c"), 0o700, false).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));
        assert!(!base.join("a/c").exists());
    }
}
