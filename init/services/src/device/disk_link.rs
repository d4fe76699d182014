//! Which links a block device claims: /dev/disk/by-{uuid,label,partuuid,partlabel,id,path} and /dev/mapper.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::device::identity::{by_id, by_path, encode_label};
use crate::device::superblock::Found;
use crate::device::uevent::Device;
use crate::device::{partition, superblock, sysfs};
use crate::sys::block;

/// A mapped device shows what a disk below it holds, and comes first.
const MAPPED_RANK: u32 = 10;

/// The links of a device and their rank.
pub(crate) fn links(device: &Device) -> (BTreeSet<String>, u32) {
    let folder = device.folder();
    let is_partition = device.get("DEVTYPE") == Some("partition");
    let mut links = BTreeSet::new();
    let Some(disk) = (if is_partition {
        folder.parent().map(Path::to_path_buf)
    } else {
        Some(folder.clone())
    }) else {
        return (links, 0);
    };
    if sysfs::number(&folder, "size").unwrap_or(0) > 0 {
        let suffix = device
            .get("PARTN")
            .filter(|_| is_partition)
            .map(|number| format!("-part{number}"));
        let suffix = suffix.unwrap_or_default();
        links.extend(
            by_id(&disk)
                .into_iter()
                .map(|id| format!("disk/by-id/{id}{suffix}")),
        );
        links.extend(by_path(&disk).map(|path| format!("disk/by-path/{path}{suffix}")));
        if is_partition {
            let entry = partition::find(device);
            claim(&mut links, "partuuid", &entry.uuid);
            claim(&mut links, "partlabel", &entry.label);
        }
        // A disk with partitions may still hold remains of a file system from before.
        if (is_partition || !has_partitions(&folder))
            && let Some(found) = probe(device)
        {
            log::debug!(
                "{}: {} {} {:?}",
                device.name(),
                found.kind,
                found.uuid,
                found.label
            );
            claim(&mut links, "uuid", &found.uuid);
            claim(&mut links, "label", &found.label);
        }
    }
    let mapped = sysfs::text(&folder, "dm/name");
    let rank = if mapped.is_some() { MAPPED_RANK } else { 0 };
    links.extend(mapped.map(|name| format!("mapper/{}", encode_label(&name))));
    (links, rank)
}

fn claim(links: &mut BTreeSet<String>, by: &str, name: &str) {
    if !name.is_empty() {
        links.insert(format!("disk/by-{by}/{}", encode_label(name)));
    }
}

fn has_partitions(disk: &Path) -> bool {
    let is_partition = |folder: PathBuf| folder.join("partition").exists();
    std::fs::read_dir(disk).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| is_partition(entry.path())))
    })
}

/// Reads the superblock; a drive without a medium or a device that is not set up yet has none.
fn probe(device: &Device) -> Option<Found> {
    let path = Path::new("/dev").join(device.node()?);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .ok()?;
    // An empty drive claims a size and opens all the same; each read of it is an error on the console, by the kernel.
    if block::lacks_disc(&file) {
        return None;
    }
    superblock::probe(&file)
}
