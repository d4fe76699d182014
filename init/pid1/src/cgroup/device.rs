//! Settings of single disks: from a device node to the number that the kernel goes by.
//!
//! Only nodes of the file system at /dev are looked at, in memory: nothing here waits for a disk.
//!
//! Source: Documentation/admin-guide/cgroup-v2.rst "IO Interface Files".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, major, minor, openat2};
use rustix::io::Errno;
use spec_unit::plan::{DEVICES, DeviceSetting};

/// Devices that may lie one on the other.
const MAX_DEPTH: usize = 16;

/// What is written to the setting's file.
pub(super) fn line(setting: &DeviceSetting) -> io::Result<String> {
    let number = number(Path::new(DEVICES), Path::new(&setting.path))?;
    let disk = disk(Path::new("/sys/dev/block"), &number);
    Ok(format!("{disk} {}", setting.value))
}

/// Kind and number of what stands at a path below /dev.
pub(crate) fn node(path: &str) -> io::Result<(FileType, u64)> {
    node_below(Path::new(DEVICES), Path::new(path))
}

/// No other file system is entered: links of /dev stay within it.
fn node_below(base: &Path, path: &Path) -> io::Result<(FileType, u64)> {
    let below = path.strip_prefix(base).map_err(|_| Errno::XDEV)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let base = openat2(CWD, base, flags, Mode::empty(), ResolveFlags::empty())?;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let node = fstat(openat2(&base, below, flags, Mode::empty(), within)?)?;
    Ok((FileType::from_raw_mode(node.st_mode), node.st_rdev))
}

/// `MAJOR:MINOR` of a disk's node.
fn number(base: &Path, path: &Path) -> io::Result<String> {
    let (kind, device) = node_below(base, path)?;
    if kind != FileType::BlockDevice {
        return Err(io::Error::other("it is no block device"));
    }
    Ok(format!("{}:{}", major(device), minor(device)))
}

/// The number of the disk below a partition or a device that lies on just one other, as in systemd.
fn disk(sysfs: &Path, number: &str) -> String {
    let Ok(mut device) = fs::canonicalize(sysfs.join(number)) else {
        return number.into();
    };
    for _ in 0..MAX_DEPTH {
        match below(&device) {
            Some(below) => device = below,
            None => break,
        }
    }
    let own = fs::read_to_string(device.join("dev"));
    own.map_or_else(|_| number.into(), |own| own.trim().to_owned())
}

fn below(device: &Path) -> Option<PathBuf> {
    if device.join("partition").exists() {
        return device.parent().map(Path::to_path_buf);
    }
    let slaves = fs::read_dir(device.join("slaves")).ok()?;
    let mut slaves = slaves.filter_map(Result::ok).map(|slave| slave.path());
    let only = slaves.next().filter(|_| slaves.next().is_none())?;
    fs::canonicalize(only).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_of_a_device_on_one_disk_is_that_disk() {
        let folder = tempfile::tempdir().unwrap();
        let device = |name: &str, number: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("dev"), number).unwrap();
            std::os::unix::fs::symlink(&path, folder.path().join(number.trim())).unwrap();
            path
        };
        device("sda", "8:0\n");
        let part = device("sda/sda1", "8:1\n");
        fs::write(part.join("partition"), "1").unwrap();
        let crypt = device("dm-0", "254:0\n");
        fs::create_dir(crypt.join("slaves")).unwrap();
        std::os::unix::fs::symlink(&part, crypt.join("slaves/sda1")).unwrap();
        for number in ["8:0", "8:1", "254:0"] {
            assert_eq!(disk(folder.path(), number), "8:0", "{number}");
        }
        std::os::unix::fs::symlink(folder.path().join("sda"), crypt.join("slaves/sda")).unwrap();
        assert_eq!(disk(folder.path(), "254:0"), "254:0", "on two");
        assert_eq!(disk(folder.path(), "9:9"), "9:9");
    }

    #[test]
    fn only_block_devices_of_dev_itself_count() {
        let told = |path: &str| number(Path::new(DEVICES), Path::new(path)).unwrap_err();
        assert!(told("/dev/null").to_string().contains("no block device"));
        assert_eq!(told("/etc/passwd").raw_os_error(), Some(libc::EXDEV));
        assert_eq!(told("/dev/no-such-disk").kind(), io::ErrorKind::NotFound);
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let out = number(folder.path(), &folder.path().join("link"));
        assert_eq!(out.unwrap_err().raw_os_error(), Some(libc::EXDEV));
    }
}
