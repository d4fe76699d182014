//! Finding the root among the disks of this machine by the partition UUIDs that its root hash gives.
//!
//! Every disk's own partition table is read, checked and bounded; the kernel then only has to know the partition by
//! its number. Drivers are loaded one by one, those of disks first, until both partitions are there or the deadline
//! has passed.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spec_layout::gpt::{Header, Partition, Uuid};
use spec_layout::verity::RootHash;

use super::Source;
use super::modules::{Loader, Urgency};
use crate::error::{Error, Result, What};
use crate::watchdog::Watchdog;

/// How long a disk may take to appear: slow controllers spin up for half of it.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long the drivers of other devices wait for disks whose driver was just loaded, and which it looks for by itself.
const PATIENCE: Duration = Duration::from_millis(100);
const CLASS: &str = "/sys/class/block";
/// Block devices that never hold the root, and floppies, whose very opening takes seconds.
const NEVER: [&str; 7] = ["dm-", "fd", "loop", "nbd", "ram", "sr", "zram"];

/// Loads drivers and looks at disks until the root is there.
pub(super) fn wait_for_root(
    hash: &RootHash,
    modules: &mut Loader,
    watchdog: &mut Watchdog,
) -> Result<Source> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(5);
    // Until then what was loaded last is given time to find its disks.
    let mut patience = begun;
    loop {
        let loaded = if Instant::now() >= patience {
            modules.load_next()
        } else {
            None
        };
        if loaded.is_some_and(Urgency::is_disk) {
            patience = Instant::now() + PATIENCE;
        }
        watchdog.feed();
        let disks = disks();
        let find = |uuid: Uuid| disks.iter().find_map(|disk| disk.node(uuid));
        if let (Some(root), Some(tree)) =
            (find(hash.root_partition()), find(hash.verity_partition()))
        {
            return Ok(Source { root, tree });
        }
        if begun.elapsed() > DEADLINE {
            return Err(Error::new(What::RootDevice, not_found(hash, &disks)));
        }
        if loaded.is_some_and(|urgency| !urgency.is_disk()) {
            continue;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// A disk with what its table says, or why that could not be read.
struct Disk {
    name: String,
    table: std::result::Result<Vec<Partition>, String>,
}

impl Disk {
    /// Node of the partition with this unique GUID, once the kernel has it.
    fn node(&self, uuid: Uuid) -> Option<PathBuf> {
        let partition = self
            .table
            .as_ref()
            .ok()?
            .iter()
            .find(|partition| partition.unique == uuid)?;
        let entries = std::fs::read_dir(Path::new(CLASS).join(&self.name)).ok()?;
        let names = entries
            .filter_map(|entry| Some((entry.as_ref().ok()?.path(), entry.ok()?.file_name())));
        let mut matching = names.filter(|(path, _)| {
            let number = std::fs::read_to_string(path.join("partition")).unwrap_or_default();
            number.trim().parse() == Ok(partition.number)
        });
        matching
            .next()
            .map(|(_, name)| Path::new("/dev").join(name))
            .filter(|node| node.exists())
    }
}

/// Every whole disk, in name order.
fn disks() -> Vec<Disk> {
    let entries = std::fs::read_dir(CLASS).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut disks: Vec<String> = names.filter(|name| is_disk(name)).collect();
    disks.sort();
    disks
        .into_iter()
        .map(|name| Disk {
            table: table_of(&name),
            name,
        })
        .collect()
}

fn is_disk(name: &str) -> bool {
    let folder = Path::new(CLASS).join(name);
    let empty = std::fs::read_to_string(folder.join("size")).is_ok_and(|size| size.trim() == "0");
    let numbered = |prefix: &&str| {
        name.strip_prefix(*prefix)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    !empty && !folder.join("partition").exists() && !NEVER.iter().any(numbered)
}

fn table_of(name: &str) -> std::result::Result<Vec<Partition>, String> {
    let sector =
        std::fs::read_to_string(Path::new(CLASS).join(name).join("queue/logical_block_size"));
    let sector: usize = sector
        .ok()
        .and_then(|size| size.trim().parse().ok())
        .filter(|&size| size <= 4096)
        .unwrap_or(512);
    let file = File::open(Path::new("/dev").join(name)).map_err(|cause| cause.to_string())?;
    read_table(&file, sector)
}

/// Reads the partition table of a disk or an image with sectors of so many bytes.
pub(crate) fn read_table(
    file: &File,
    sector: usize,
) -> std::result::Result<Vec<Partition>, String> {
    let mut first = vec![0; sector];
    file.read_exact_at(&mut first, sector as u64)
        .map_err(|cause| cause.to_string())?;
    let header = Header::parse(&first, 1)?;
    let mut array = vec![0; header.entries_bytes()];
    let at = header
        .entries_lba
        .checked_mul(sector as u64)
        .ok_or("the entry array lies outside of the disk")?;
    file.read_exact_at(&mut array, at)
        .map_err(|cause| cause.to_string())?;
    header.partitions(&array)
}

/// Says what is missing and what was seen instead.
fn not_found(hash: &RootHash, disks: &[Disk]) -> String {
    let seen: Vec<String> = disks
        .iter()
        .map(|disk| match &disk.table {
            Ok(partitions) => format!("{} with {} partitions", disk.name, partitions.len()),
            Err(why) => format!("{} ({why})", disk.name),
        })
        .collect();
    let seen = if seen.is_empty() {
        "no disk at all: is its driver in the image?".to_owned()
    } else {
        seen.join(", ")
    };
    format!(
        "no disk has the partitions {} and {} of this root hash after {} s; seen: {seen}",
        hash.root_partition(),
        hash.verity_partition(),
        DEADLINE.as_secs(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_what_is_missing_and_what_is_there() {
        let hash = RootHash::parse(&"ab".repeat(32)).unwrap();
        assert!(not_found(&hash, &[]).contains("is its driver in the image?"));
        let disks = [
            Disk {
                name: "vda".into(),
                table: Ok(vec![]),
            },
            Disk {
                name: "sda".into(),
                table: Err("no GUID partition table".into()),
            },
        ];
        let message = not_found(&hash, &disks);
        assert!(
            message.contains("abababab-abab-abab-abab-abababababab"),
            "{message}"
        );
        assert!(
            message.ends_with("vda with 0 partitions, sda (no GUID partition table)"),
            "{message}"
        );
    }
}
