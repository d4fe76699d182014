//! What was there before the service: every device of every bus and class, parents first.
//!
//! Source: Documentation/admin-guide/sysfs-rules.rst.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::device::sysfs;
use crate::device::uevent::Device;

/// Where a subsystem lists its devices, from the folder of /sys that lists the subsystems.
const LISTS: [(&str, &str); 2] = [("bus", "devices"), ("class", "")];

/// Gives every present device to `handle`.
pub(crate) fn walk(handle: &mut impl FnMut(Device)) {
    visit(Path::new("/sys"), handle);
}

fn visit(sys: &Path, handle: &mut impl FnMut(Device)) {
    let mut found = BTreeMap::new();
    for (subsystems, list) in LISTS {
        for (folder, subsystem) in entries(&sys.join(subsystems)) {
            for (link, _) in entries(&folder.join(list)) {
                if let Some(path) = target(&link) {
                    found.insert(path, subsystem.clone());
                }
            }
        }
    }
    for (path, subsystem) in found {
        let folder = sys.join(path.strip_prefix("/").unwrap_or(&path));
        // A device that is gone again is told of by an event.
        let Some(uevent) = sysfs::bytes(&folder, "uevent") else {
            continue;
        };
        let text = String::from_utf8_lossy(&uevent);
        if let Some(device) = Device::present(&path.to_string_lossy(), subsystem, &text) {
            handle(device);
        }
    }
}

/// Path and name of what is in a folder.
fn entries(folder: &Path) -> impl Iterator<Item = (PathBuf, String)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?)))
}

/// The device that a link such as `../../devices/pci0000:00/0000:00:01.0` leads to, from `/devices`. What is no link is
/// no device: `/sys/class/net/bonding_masters` is a file.
fn target(link: &Path) -> Option<PathBuf> {
    let target = std::fs::read_link(link).ok()?;
    let below: PathBuf = target
        .components()
        .skip_while(|component| *component == Component::ParentDir)
        .collect();
    below
        .starts_with("devices")
        .then(|| Path::new("/").join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_buses_and_classes_are_found_once_parents_first() {
        let root = tempfile::tempdir().unwrap();
        let sys = root.path();
        let pci = sys.join("devices/pci0000:00/0000:00:01.0");
        let disk = pci.join("virtio1/block/vda");
        std::fs::create_dir_all(disk.join("vda1")).unwrap();
        std::fs::write(pci.join("uevent"), "MODALIAS=pci:v1\n").unwrap();
        std::fs::write(disk.join("uevent"), "DEVNAME=vda\n").unwrap();
        std::fs::write(disk.join("vda1/uevent"), "DEVNAME=vda1\n").unwrap();
        for folder in ["bus/pci/devices", "class/block", "class/net"] {
            std::fs::create_dir_all(sys.join(folder)).unwrap();
        }
        let link = |target: &str, link: &str| {
            std::os::unix::fs::symlink(target, sys.join(link)).unwrap();
        };
        let pci = "../../../devices/pci0000:00/0000:00:01.0";
        link(pci, "bus/pci/devices/0000:00:01.0");
        let disk = "../../devices/pci0000:00/0000:00:01.0/virtio1/block/vda";
        link(&format!("{disk}/vda1"), "class/block/vda1");
        link(disk, "class/block/vda");
        link("../../devices/gone", "class/net/gone");
        link("/etc", "class/net/elsewhere");
        std::fs::write(sys.join("class/net/bonding_masters"), "").unwrap();

        let mut found = Vec::new();
        visit(sys, &mut |device| found.push(device));
        let paths: Vec<&str> = found.iter().map(|device| device.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/devices/pci0000:00/0000:00:01.0",
                "/devices/pci0000:00/0000:00:01.0/virtio1/block/vda",
                "/devices/pci0000:00/0000:00:01.0/virtio1/block/vda/vda1"
            ]
        );
        assert_eq!(found[0].subsystem, "pci");
        assert_eq!(found[1].subsystem, "block");
        assert_eq!(found[0].get("MODALIAS"), Some("pci:v1"));
    }
}
