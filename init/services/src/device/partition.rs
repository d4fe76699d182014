//! UUID and label of a partition: from its uevent where the kernel tells them, else from the table of its disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use spec_layout::gpt::Header;

use crate::device::sysfs;
use crate::device::uevent::Device;

/// What the table says of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Unique UUID, or `DISK-NN` of a DOS table; empty if unknown.
    pub uuid: String,
    /// Label, empty if there is none.
    pub label: String,
}

/// The entry of a partition device.
pub(crate) fn find(device: &Device) -> Entry {
    let told = Entry {
        uuid: device.get("PARTUUID").unwrap_or_default().to_string(),
        label: device.get("PARTNAME").unwrap_or_default().to_string(),
    };
    if !told.uuid.is_empty() {
        return told;
    }
    let read = || {
        let number: u32 = device.get("PARTN")?.parse().ok()?;
        let folder = device.folder();
        let disk = folder.parent()?;
        let sector = sysfs::number(disk, "queue/logical_block_size").unwrap_or(512);
        let file = File::open(Path::new("/dev").join(disk.file_name()?)).ok()?;
        read_table(&file, sector, number)
    };
    read().unwrap_or(told)
}

fn read_table(disk: &File, sector_bytes: u64, number: u32) -> Option<Entry> {
    let mut sector = vec![
        0;
        usize::try_from(sector_bytes)
            .ok()
            .filter(|bytes| (512..=4096).contains(bytes))?
    ];
    disk.read_exact_at(&mut sector, sector_bytes).ok()?;
    let Ok(header) = Header::parse(&sector, 1) else {
        return dos_entry(disk, number);
    };
    let mut array = vec![0; header.entries_bytes()];
    disk.read_exact_at(&mut array, header.entries_lba.checked_mul(sector_bytes)?)
        .ok()?;
    let partitions = header.partitions(&array).ok()?;
    let partition = partitions
        .into_iter()
        .find(|partition| partition.number == number)?;
    Some(Entry {
        uuid: partition.unique.to_string(),
        label: partition.label,
    })
}

/// A DOS table has no UUIDs: the disk's signature and the number stand in for them.
fn dos_entry(disk: &File, number: u32) -> Option<Entry> {
    let mut sector = [0; 512];
    disk.read_exact_at(&mut sector, 0).ok()?;
    let signature = u32::from_le_bytes(*sector.get(440..)?.first_chunk()?);
    let valid = sector.ends_with(&[0x55, 0xaa]) && signature != 0;
    valid.then(|| Entry {
        uuid: format!("{signature:08x}-{number:02x}"),
        label: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn device(text: &str) -> Device {
        Device::present("/devices/x/block/vda/vda3", "block".into(), text).unwrap()
    }

    #[test]
    fn what_the_kernel_tells_is_taken() {
        let entry = find(&device("PARTN=3\nPARTUUID=0102\nPARTNAME=bedplate-state\n"));
        assert_eq!(
            (entry.uuid.as_str(), entry.label.as_str()),
            ("0102", "bedplate-state")
        );
    }

    #[test]
    fn a_dos_table_gives_signature_and_number() {
        let mut file = tempfile::tempfile().unwrap();
        let mut sector = [0; 2048];
        sector[440..444].copy_from_slice(&[0x78, 0x56, 0x34, 0x12]);
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        file.write_all(&sector).unwrap();
        assert_eq!(read_table(&file, 512, 2).unwrap().uuid, "12345678-02");
    }

    #[test]
    fn a_gpt_gives_uuid_and_label() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file_mut().set_len(4 << 20).unwrap();
        let mut table = gptman::GPT::new_from(file.as_file_mut(), 512, [9; 16]).unwrap();
        table[2] = gptman::GPTPartitionEntry {
            partition_type_guid: [1; 16],
            unique_partition_guid: [2; 16],
            starting_lba: 2048,
            ending_lba: 4095,
            attribute_bits: 0,
            partition_name: "bedplate-state".into(),
        };
        table.write_into(file.as_file_mut()).unwrap();
        let entry = read_table(file.as_file(), 512, 2).unwrap();
        assert_eq!(entry.label, "bedplate-state");
        assert_eq!(entry.uuid, "02020202-0202-0202-0202-020202020202");
        assert_eq!(read_table(file.as_file(), 512, 1), None);
    }

    #[test]
    fn garbage_gives_nothing() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0xff; 8192]).unwrap();
        assert_eq!(read_table(&file, 512, 1), None);
        assert_eq!(read_table(&file, 3, 1), None);
    }
}
