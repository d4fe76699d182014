//! The state partition in the partition table of the root's disk: found, made in the free end, grown with the disk.
//!
//! Source: UEFI specification, chapter "GUID Partition Table (GPT) Disk Layout".

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use gptman::{GPT, GPTPartitionEntry};
use spec_layout::disk::{ALIGN, GROW, LINUX_GENERIC, LUKS_HEADER_BYTES, STATE_LABEL};
use spec_layout::gpt::{Header, Partition, Uuid};

use super::disk::Disk;
use super::ends::Ends;
use super::{Result, at, identity};
use crate::sys::block;

/// Smaller than this and no node could keep its journal.
const STATE_MIN_BYTES: u64 = 64 << 20;

/// The state partition.
pub(super) struct StatePartition {
    /// Its device node.
    pub(super) node: PathBuf,
}

/// What the table needed.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    None,
    /// Only the second table moved.
    Moved,
    Added {
        number: u32,
        start: u64,
        length: u64,
    },
    Grown {
        number: u32,
        start: u64,
        length: u64,
    },
}

/// Finds the state partition, making it if it is missing and growing it if the disk has grown.
pub(super) fn state_partition(disk: &Disk) -> Result<StatePartition> {
    let node = disk.node();
    let failed = |cause: std::io::Error| format!("{}: {cause}", node.display());
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(&node)
        .map_err(failed)?;
    let mut ends = Ends::read(&mut file).map_err(failed)?;
    let (number, change) = plan(&mut ends, disk.sector).map_err(at(node.display()))?;
    if let Change::Added { start, length, .. } = change {
        // Before the table names it, so that what was there once is never taken for a file system.
        let blank = vec![0; ALIGN.min(length) as usize];
        file.write_all_at(&blank, start).map_err(failed)?;
        file.sync_all().map_err(failed)?;
    }
    if change != Change::None {
        ends.write(&file).map_err(failed)?;
    }
    match change {
        Change::None => {}
        Change::Moved => {
            log::info!(target: "bedplate", "{}: the second table moved to its end", node.display())
        }
        Change::Added {
            number,
            start,
            length,
        } => {
            log::info!(target: "bedplate", "{}: state partition of {} MiB made", node.display(), length >> 20);
            block::add_partition(&file, number, start, length).map_err(failed)?;
        }
        Change::Grown {
            number,
            start,
            length,
        } => {
            log::info!(target: "bedplate", "{}: state partition grown to {} MiB", node.display(), length >> 20);
            block::resize_partition(&file, number, start, length).map_err(failed)?;
        }
    }
    Ok(StatePartition {
        node: disk.partition_node(number),
    })
}

/// What the disk's table says, read only.
pub(super) fn partitions(disk: &Disk) -> Result<Vec<Partition>> {
    let node = disk.node();
    let ends = File::open(&node).and_then(|mut file| Ends::read(&mut file));
    check(&mut ends.map_err(at(node.display()))?, disk.sector).map_err(at(node.display()))
}

/// Changes the table in memory; gives the state partition's number and what is to be done.
fn plan(ends: &mut Ends, sector: u64) -> Result<(u32, Change)> {
    check(ends, sector)?;
    let mut table = GPT::read_from(ends, sector).map_err(at("partition table"))?;
    let moved = grow_table(&mut table, ends, sector)?;
    let kind = LINUX_GENERIC.parse::<Uuid>()?.to_mixed_endian();
    let states: Vec<u32> = table
        .iter()
        .filter(|(_, entry)| {
            entry.partition_type_guid == kind && entry.partition_name.as_str() == STATE_LABEL
        })
        .map(|(number, _)| number)
        .collect();
    let (number, change) = match states[..] {
        [] => add(&mut table, kind)?,
        [number] => grow(&mut table, number)?,
        _ => {
            return Err(format!(
                "{} partitions are called {STATE_LABEL}: keep one, rename the others",
                states.len()
            ));
        }
    };
    let change = if change == Change::None && moved {
        Change::Moved
    } else {
        change
    };
    if change != Change::None {
        table.write_into(ends).map_err(at("partition table"))?;
    }
    if moved {
        GPT::write_protective_mbr_into(ends, sector).map_err(at("protective MBR"))?;
    }
    Ok((number, change))
}

/// Reads the first table with our own bounded parser before anything allocates by what it says.
fn check(ends: &mut Ends, sector: u64) -> Result<Vec<Partition>> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut first = vec![0; sector as usize];
    let mut read = |place: u64, buffer: &mut [u8]| {
        ends.seek(SeekFrom::Start(place))
            .and_then(|_| ends.read_exact(buffer))
    };
    read(sector, &mut first).map_err(at("partition table"))?;
    let header = Header::parse(&first, 1)?;
    let mut array = vec![0; header.entries_bytes()];
    let place = header
        .entries_lba
        .checked_mul(sector)
        .ok_or("the partition entries lie outside of the disk")?;
    read(place, &mut array).map_err(at("partition entries"))?;
    header.partitions(&array)
}

/// Moves the second table to the end of a disk that has grown, or that a smaller image was written to.
fn grow_table(table: &mut GPT, ends: &mut Ends, sector: u64) -> Result<bool> {
    let last = ends.length() / sector - 1;
    if table.header.backup_lba == last {
        return Ok(false);
    }
    if table.header.backup_lba > last {
        return Err(format!(
            "the table is for a larger disk: its last sector is {}, not {last}",
            table.header.backup_lba
        ));
    }
    let first_usable = table.header.first_usable_lba;
    table
        .header
        .update_from(ends, sector)
        .map_err(at("partition table"))?;
    table.header.first_usable_lba = first_usable;
    Ok(true)
}

/// Last byte, excluded, that an aligned partition can use.
fn usable_end(table: &GPT) -> u64 {
    let end = (table.header.last_usable_lba + 1) * table.sector_size;
    end - end % ALIGN
}

/// Adds the state partition behind all others, a LUKS2 header's room further.
fn add(table: &mut GPT, kind: [u8; 16]) -> Result<(u32, Change)> {
    let sector = table.sector_size;
    let used = table
        .iter()
        .filter(|(_, entry)| entry.is_used())
        .map(|(_, entry)| (entry.ending_lba + 1) * sector)
        .max();
    let start = used
        .unwrap_or(table.header.first_usable_lba * sector)
        .next_multiple_of(ALIGN)
        + LUKS_HEADER_BYTES;
    let length = usable_end(table).saturating_sub(start);
    if length < STATE_MIN_BYTES {
        let needed = (LUKS_HEADER_BYTES + STATE_MIN_BYTES) >> 20;
        return Err(format!(
            "no room for the state partition: {needed} MiB are needed behind the last partition; use a larger disk"
        ));
    }
    let free = table
        .iter()
        .find(|(_, entry)| entry.is_unused())
        .map(|(number, _)| number);
    let number = free.ok_or("no free entry for the state partition")?;
    table[number] = GPTPartitionEntry {
        partition_type_guid: kind,
        unique_partition_guid: identity::random()?,
        starting_lba: start / sector,
        ending_lba: (start + length) / sector - 1,
        attribute_bits: GROW,
        partition_name: STATE_LABEL.into(),
    };
    Ok((
        number,
        Change::Added {
            number,
            start,
            length,
        },
    ))
}

/// Grows the state partition to the end of the disk, if nothing lies behind it.
fn grow(table: &mut GPT, number: u32) -> Result<(u32, Change)> {
    let sector = table.sector_size;
    let end = usable_end(table) / sector;
    let others = table
        .iter()
        .filter(|(other, entry)| *other != number && entry.is_used());
    let last = others
        .map(|(_, entry)| entry.starting_lba)
        .max()
        .unwrap_or_default();
    let state = &mut table[number];
    if last > state.starting_lba || state.ending_lba + 1 >= end {
        return Ok((number, Change::None));
    }
    state.ending_lba = end - 1;
    let (start, length) = (
        state.starting_lba * sector,
        (end - state.starting_lba) * sector,
    );
    Ok((
        number,
        Change::Grown {
            number,
            start,
            length,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk as the builder writes it: one partition of `used` MiB on `size` MiB.
    fn disk(size: u64, used: u64) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(size * MIB).unwrap();
        let mut table = GPT::new_from(&mut file, 512, [1; 16]).unwrap();
        table[1] = GPTPartitionEntry {
            partition_type_guid: [2; 16],
            unique_partition_guid: [3; 16],
            starting_lba: 2048,
            ending_lba: (1 + used) * 2048 - 1,
            attribute_bits: 0,
            partition_name: "root-a".into(),
        };
        table.write_into(&mut file).unwrap();
        file
    }

    fn plan_on(file: &mut File) -> Result<(u32, Change)> {
        let mut ends = Ends::read(file).unwrap();
        let planned = plan(&mut ends, 512)?;
        ends.write(file).unwrap();
        Ok(planned)
    }

    #[test]
    fn the_first_boot_makes_state_behind_the_rest_with_room_for_a_header() {
        let mut file = disk(512, 100);
        let (number, change) = plan_on(&mut file).unwrap();
        let (start, length) = (117 * MIB, (511 - 117) * MIB);
        assert_eq!(
            (number, change),
            (
                2,
                Change::Added {
                    number: 2,
                    start,
                    length
                }
            )
        );
        assert_eq!(plan_on(&mut file), Ok((2, Change::None)));
        let table = GPT::read_from(&mut file, 512).unwrap();
        assert_eq!(table[2].partition_name.as_str(), "bedplate-state");
    }

    #[test]
    fn a_grown_disk_grows_state_and_moves_the_second_table() {
        let mut file = disk(512, 100);
        plan_on(&mut file).unwrap();
        file.set_len(1024 * MIB).unwrap();
        let (start, length) = (117 * MIB, (1023 - 117) * MIB);
        assert_eq!(
            plan_on(&mut file),
            Ok((
                2,
                Change::Grown {
                    number: 2,
                    start,
                    length
                }
            ))
        );
        assert_eq!(plan_on(&mut file), Ok((2, Change::None)));
        let table = GPT::read_from(&mut file, 512).unwrap();
        assert_eq!(table.header.backup_lba, 2048 * 1024 - 1);
    }

    #[test]
    fn an_image_on_a_larger_disk_gets_all_of_it_at_once() {
        let mut file = disk(128, 100);
        file.set_len(1024 * MIB).unwrap();
        assert!(matches!(plan_on(&mut file), Ok((2, Change::Added { .. }))));
    }

    #[test]
    fn nothing_is_made_where_it_does_not_fit() {
        let message = plan_on(&mut disk(150, 100)).unwrap_err();
        assert!(message.contains("80 MiB are needed"), "{message}");
    }

    #[test]
    fn a_broken_table_is_left_alone() {
        let mut file = disk(512, 100);
        file.write_all_at(b"x", 600).unwrap();
        assert!(plan_on(&mut file).is_err());
        file.set_len(256 * MIB).unwrap();
        assert!(plan_on(&mut file).is_err());
    }
}
