//! The disk that holds the booted root: the only one on which anything is ever created.

use std::fs;
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Result, at};

/// A whole disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    /// Name below /dev and /sys/class/block.
    pub(super) name: String,
    /// Bytes of a logical sector.
    pub(super) sector: u64,
}

impl Disk {
    /// Its device node.
    pub(super) fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// Device node of one of its partitions, named as the kernel names them.
    pub(super) fn partition_node(&self, number: u32) -> PathBuf {
        let infix = if self.name.ends_with(|last: char| last.is_ascii_digit()) {
            "p"
        } else {
            ""
        };
        Path::new("/dev").join(format!("{}{infix}{number}", self.name))
    }
}

/// Finds it below the dm-verity device that is mounted at `/`; `None` if the root runs from memory.
pub(super) fn of_the_root(sys: &Path) -> Result<Option<Disk>> {
    let device = fs::metadata("/").map_err(at("/"))?.st_dev();
    let number = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    below(sys, &number)
}

/// Follows the slaves of the device `number` down to a partition and takes its disk.
fn below(sys: &Path, number: &str) -> Result<Option<Disk>> {
    let block = sys.join("dev/block").join(number);
    let slaves = block.join("slaves");
    let mut names: Vec<PathBuf> = fs::read_dir(&slaves)
        .map_err(at(slaves.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    names.sort();
    for slave in names {
        let slave = fs::canonicalize(&slave).map_err(at(slave.display()))?;
        if !slave.join("partition").exists() {
            continue;
        }
        let folder = slave.parent().ok_or("a partition of no disk")?;
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or("a disk without a name")?;
        let size = fs::read_to_string(folder.join("queue/logical_block_size")).unwrap_or_default();
        let sector = size
            .trim()
            .parse()
            .ok()
            .filter(|size| matches!(size, 512 | 1024 | 2048 | 4096))
            .unwrap_or(512);
        return Ok(Some(Disk {
            name: name.to_owned(),
            sector,
        }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A /sys in which dm-0 stands on `slave`.
    fn sys(slave: &str, partition: bool) -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        let device = sys.path().join("devices").join(slave);
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(sys.path().join("dev/block/254:0/slaves")).unwrap();
        if partition {
            fs::write(device.join("partition"), "2\n").unwrap();
            let queue = device.parent().unwrap().join("queue");
            fs::create_dir(&queue).unwrap();
            fs::write(queue.join("logical_block_size"), "512\n").unwrap();
        }
        symlink(&device, sys.path().join("dev/block/254:0/slaves/x")).unwrap();
        sys
    }

    #[test]
    fn the_roots_disk_is_found_through_dm_verity() {
        let sys = sys("pci/virtio0/block/vda/vda2", true);
        let disk = below(sys.path(), "254:0").unwrap().unwrap();
        assert_eq!(
            disk,
            Disk {
                name: "vda".into(),
                sector: 512
            }
        );
        assert_eq!(disk.partition_node(8), Path::new("/dev/vda8"));
        assert_eq!(
            Disk {
                name: "nvme0n1".into(),
                ..disk
            }
            .partition_node(8),
            Path::new("/dev/nvme0n1p8")
        );
    }

    #[test]
    fn a_root_in_memory_is_on_no_disk() {
        let sys = sys("virtual/block/loop0", false);
        assert_eq!(below(sys.path(), "254:0"), Ok(None));
    }
}
