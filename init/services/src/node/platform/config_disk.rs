//! A config disk: `bedplate.toml` in the root of a file system labelled `BEDPLATE-CFG` (on FAT, whose labels end
//! at 11 characters, `BEDPLATECFG`).
//!
//! The label is read from the superblock here; the device service, which makes /dev/disk, does not run yet.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Found, read_document};
use crate::device::{DiskDrivers, superblock};

/// Labels of the file system.
const LABELS: [&str; 2] = ["BEDPLATE-CFG", "BEDPLATECFG"];
/// Name of the file.
const FILE: &str = "bedplate.toml";
/// Where it is mounted for a moment.
const MOUNT_POINT: &str = "/run/bedplate/config-disk";
/// How long a disk behind a driver that was only just loaded may take; a USB stick takes two seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most block devices that are looked at.
const MAX_DEVICES: usize = 256;

pub(super) fn find() -> io::Result<Option<Found>> {
    let look = || labelled(Path::new("/sys/class/block"), Path::new("/dev"));
    if let Some((device, kind)) = look()? {
        return read_from(&device, kind);
    }
    // The initramfs has loaded no more than the root needs.
    let mut drivers = DiskDrivers::open()?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        drivers.load();
        if let Some((device, kind)) = look()? {
            return read_from(&device, kind);
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(None)
}

/// The first block device, in name order, with the label.
fn labelled(sys: &Path, dev: &Path) -> io::Result<Option<(PathBuf, &'static str)>> {
    let mut names: Vec<String> = std::fs::read_dir(sys)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            !["loop", "ram", "zram", "dm-", "nbd", "fd"]
                .iter()
                .any(|kind| name.starts_with(kind))
        })
        .collect();
    names.sort();
    for name in names.iter().take(MAX_DEVICES) {
        let device = dev.join(name.replace('!', "/"));
        // A drive without a medium cannot be opened; that is no failure.
        let Ok(file) = File::open(&device) else {
            continue;
        };
        let Some(found) = superblock::probe(&file) else {
            continue;
        };
        let is_ours = |wanted: &&str| found.label.eq_ignore_ascii_case(wanted);
        if let (true, Some(kind)) = (LABELS.iter().any(is_ours), kernel_name(found.kind)) {
            return Ok(Some((device, kind)));
        }
    }
    Ok(None)
}

/// What the kernel mounts a file system as, if a config disk may have one of this kind.
fn kernel_name(kind: &str) -> Option<&'static str> {
    match kind {
        "vfat" => Some("vfat"),
        "ext2" | "ext3" | "ext4" => Some("ext4"),
        "iso9660" => Some("iso9660"),
        _ => None,
    }
}

fn read_from(device: &Path, kind: &str) -> io::Result<Option<Found>> {
    let point = Path::new(MOUNT_POINT);
    std::fs::create_dir_all(point)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(device), point, Some(kind), flags, None::<&str>).map_err(|errno| {
        io::Error::other(format!(
            "cannot mount {} as {kind}: {errno}",
            device.display()
        ))
    })?;
    let document = read_document(&point.join(FILE));
    umount2(point, MntFlags::MNT_DETACH)?;
    let Some(document) = document? else {
        return Err(io::Error::other(format!(
            "{} is labelled as config disk, but has no {FILE}",
            device.display()
        )));
    };
    Ok(Some(Found {
        source: format!("{FILE} on {}", device.display()),
        document,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::superblock::tests::disk;

    fn fat32(label: &[u8; 11]) -> Vec<u8> {
        disk(&[(71, label), (82, b"FAT32   "), (510, &[0x55, 0xaa])])
    }

    fn ext4(label: &[u8]) -> Vec<u8> {
        disk(&[
            (1024 + 56, &[0x53, 0xef]),
            (1024 + 96, &[0x40, 0, 0, 0]),
            (1024 + 120, label),
        ])
    }

    /// The config disk among devices that hold this.
    fn found(devices: &[(&str, Vec<u8>)]) -> Option<(String, &'static str)> {
        let folder = tempfile::tempdir().unwrap();
        let (sys, dev) = (folder.path().join("sys"), folder.path().join("dev"));
        // A drive that cannot be opened.
        std::fs::create_dir_all(sys.join("sr0")).unwrap();
        std::fs::create_dir(&dev).unwrap();
        for (name, bytes) in devices {
            std::fs::create_dir(sys.join(name)).unwrap();
            std::fs::write(dev.join(name), bytes).unwrap();
        }
        let (device, kind) = labelled(&sys, &dev).unwrap()?;
        let name = device.file_name()?.to_str()?.to_string();
        Some((name, kind))
    }

    #[test]
    fn the_labelled_device_is_found_among_others() {
        let ours = || fat32(b"BEDPLATECFG");
        let devices = [
            ("loop0", ours()),
            ("vda", vec![0; 100]),
            ("vda1", ext4(b"other")),
            ("vdb", ours()),
        ];
        assert_eq!(found(&devices), Some(("vdb".into(), "vfat")));
        assert_eq!(found(&devices[..3]), None);
    }

    #[test]
    fn each_kind_is_mounted_by_its_name() {
        let found = |bytes| found(&[("vdb", bytes)]).map(|(_, kind)| kind);
        assert_eq!(found(ext4(b"BEDPLATE-CFG")), Some("ext4"));
        let start = 32 * 1024;
        let iso = [
            (start, b"\x01CD001".as_slice()),
            (start + 40, b"BEDPLATE-CFG                    "),
        ];
        assert_eq!(found(disk(&iso)), Some("iso9660"));
        assert_eq!(found(vec![0xff; 90]), None);
    }
}
