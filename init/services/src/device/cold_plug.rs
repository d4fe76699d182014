//! What was there before the service: every device below /sys/devices, parents first.

use std::path::Path;

use crate::device::sysfs;
use crate::device::uevent::Device;

/// Deepest folder that is entered; a USB stick behind hubs is at 20.
const DEPTH_MAX: usize = 64;

/// Gives every present device to `handle`.
pub(crate) fn walk(handle: &mut impl FnMut(Device)) {
    visit(
        Path::new("/sys"),
        Path::new("/sys/devices"),
        DEPTH_MAX,
        handle,
    );
}

fn visit(root: &Path, folder: &Path, depth: usize, handle: &mut impl FnMut(Device)) {
    if let Some(device) = read(root, folder) {
        handle(device);
    }
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut folders: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    for folder in folders {
        visit(root, &folder, depth, handle);
    }
}

/// The device of a folder, where it is one.
fn read(root: &Path, folder: &Path) -> Option<Device> {
    let uevent = sysfs::bytes(folder, "uevent")?;
    let path = format!("/{}", folder.strip_prefix(root).ok()?.display());
    let subsystem = sysfs::link_name(folder, "subsystem").unwrap_or_default();
    Device::present(&path, subsystem, &String::from_utf8_lossy(&uevent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_with_a_uevent_file_is_a_device_parents_first() {
        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join("devices/pci0/block/vda");
        std::fs::create_dir_all(disk.join("vda1")).unwrap();
        std::fs::write(root.path().join("devices/pci0/uevent"), "MODALIAS=pci:v1\n").unwrap();
        std::fs::write(disk.join("uevent"), "DEVNAME=vda\n").unwrap();
        std::fs::write(disk.join("vda1/uevent"), "DEVNAME=vda1\n").unwrap();
        std::os::unix::fs::symlink("/sys/class/block", disk.join("subsystem")).unwrap();
        std::os::unix::fs::symlink(root.path(), disk.join("loop")).unwrap();

        let mut found = Vec::new();
        visit(
            root.path(),
            &root.path().join("devices"),
            DEPTH_MAX,
            &mut |device| found.push(device),
        );
        let paths: Vec<&str> = found.iter().map(|device| device.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/devices/pci0",
                "/devices/pci0/block/vda",
                "/devices/pci0/block/vda/vda1"
            ]
        );
        assert_eq!(found[1].subsystem, "block");
        assert_eq!(found[0].get("MODALIAS"), Some("pci:v1"));
    }
}
