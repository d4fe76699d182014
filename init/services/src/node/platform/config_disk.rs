//! A config disk: `bedplate.toml` in the root of a file system labelled `BEDPLATE-CFG` (on FAT, whose labels end
//! at 11 characters, `BEDPLATECFG`).
//!
//! The label is read from the superblock here; the device service, which makes /dev/disk, does not run yet.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::label::{self, Kind};
use super::{Found, read_document};

/// Labels of the file system.
const LABELS: [&str; 2] = ["BEDPLATE-CFG", "BEDPLATECFG"];
/// Name of the file.
const FILE: &str = "bedplate.toml";
/// Where it is mounted for a moment.
const MOUNT_POINT: &str = "/run/bedplate/config-disk";
/// Most block devices that are looked at.
const MAX_DEVICES: usize = 256;

pub(super) fn find() -> io::Result<Option<Found>> {
    match labelled(Path::new("/sys/class/block"), Path::new("/dev"))? {
        Some((device, kind)) => read_from(&device, kind),
        None => Ok(None),
    }
}

/// The first block device, in name order, with the label.
fn labelled(sys: &Path, dev: &Path) -> io::Result<Option<(PathBuf, Kind)>> {
    let mut names: Vec<String> = std::fs::read_dir(sys)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            !["loop", "ram", "zram", "dm-", "nbd"]
                .iter()
                .any(|kind| name.starts_with(kind))
        })
        .collect();
    names.sort();
    for name in names.iter().take(MAX_DEVICES) {
        let device = dev.join(name.replace('!', "/"));
        // A drive without a medium cannot be opened; that is no failure.
        let Ok(mut file) = File::open(&device) else {
            continue;
        };
        if let Some((kind, label)) = label::read(&mut file)
            && LABELS
                .iter()
                .any(|wanted| label.eq_ignore_ascii_case(wanted))
        {
            return Ok(Some((device, kind)));
        }
    }
    Ok(None)
}

fn read_from(device: &Path, kind: Kind) -> io::Result<Option<Found>> {
    let point = Path::new(MOUNT_POINT);
    std::fs::create_dir_all(point)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(
        Some(device),
        point,
        Some(kind.as_str()),
        flags,
        None::<&str>,
    )
    .map_err(|errno| {
        io::Error::other(format!(
            "cannot mount {} as {}: {errno}",
            device.display(),
            kind.as_str()
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

    #[test]
    fn the_labelled_device_is_found_among_others() {
        let folder = tempfile::tempdir().unwrap();
        let (sys, dev) = (folder.path().join("sys"), folder.path().join("dev"));
        for name in ["vda", "vda1", "vdb", "loop0", "sr0"] {
            std::fs::create_dir_all(sys.join(name)).unwrap();
        }
        std::fs::create_dir(&dev).unwrap();
        std::fs::write(dev.join("vda"), vec![0; 100]).unwrap();
        std::fs::write(dev.join("vda1"), label::tests::ext4("other")).unwrap();
        std::fs::write(dev.join("vdb"), label::tests::fat32("BEDPLATECFG")).unwrap();
        std::fs::write(dev.join("loop0"), label::tests::fat32("BEDPLATECFG")).unwrap();
        let found = labelled(&sys, &dev).unwrap();
        assert_eq!(found, Some((dev.join("vdb"), Kind::Vfat)));
    }
}
