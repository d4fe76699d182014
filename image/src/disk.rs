//! The disk as it is flashed: a GPT with the ESP, slot A, an empty slot B, the meta partition.
//!
//! | # | label | type | bytes |
//! |---|---|---|---|
//! | 1 | `ESP` | ESP | 512 MiB |
//! | 2 3 4 | `VERSION`, `_verity`, `_sig` | root, verity, signature | slot, its tree, 1 MiB |
//! | 5 6 7 | `_empty` | root, verity, signature | the same |
//! | 8 | `bedplate-meta` | linux-generic | 16 MiB |
//!
//! The node itself adds the state partition behind them at its first boot, as large as its disk allows. Types,
//! labels and sizes come from `spec_layout::disk`; sources: UEFI 2.10 chapter 5, Discoverable Partitions Specification.

use gptman::{GPT, GPTPartitionEntry};
use spec_layout::disk::{self, RootTypes};
use spec_layout::gpt::Uuid;

use crate::Error;
use crate::guid;
use crate::sparse::Sparse;
use crate::verity::Verity;

/// What the disk is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk<'a> {
    /// The ESP, [`spec_layout::disk::ESP_BYTES`] long.
    pub(crate) esp: &'a Sparse,
    /// The root file system.
    pub(crate) root: &'a [u8],
    /// Its tree.
    pub(crate) verity: &'a Verity,
    /// Partition types of the architecture.
    pub(crate) types: RootTypes,
    /// Image version, the label of slot A.
    pub(crate) version: &'a str,
    /// Bytes of a slot.
    pub(crate) slot_bytes: u64,
    /// What the disk's GUIDs follow from.
    pub(crate) seed: &'a [u8],
}

/// Offset of the ESP on every disk.
pub(crate) const ESP_OFFSET: u64 = disk::ALIGN;

/// One partition to be.
struct Partition {
    label: String,
    kind: &'static str,
    guid: Uuid,
    bytes: u64,
    flags: u64,
}

/// Lays out the table and puts the content in its place.
pub(crate) fn lay_out(content: &Disk<'_>) -> Result<Sparse, Error> {
    if content.root.len() as u64 > content.slot_bytes {
        return Err(Error::Input(format!(
            "the root takes {} MiB, the slot has {} MiB: raise slot_size in the recipe or leave out packages",
            content.root.len() >> 20,
            content.slot_bytes >> 20
        )));
    }
    let partitions = partitions(content);
    let total = ESP_OFFSET
        + partitions
            .iter()
            .map(|partition| aligned(partition.bytes))
            .sum::<u64>()
        + disk::ALIGN;
    let mut out = Sparse::new(total);
    let offsets = write_table(&mut out, content, &partitions)?;

    let place = |out: &mut Sparse, index: usize, data: &[u8]| {
        out.write_at(offsets[index], data).map_err(unexpected)
    };
    out.write_sparse(offsets[0], content.esp)
        .map_err(unexpected)?;
    place(&mut out, 1, content.root)?;
    place(&mut out, 2, &content.verity.tree)?;
    Ok(out)
}

/// The table's rows, in order.
fn partitions(content: &Disk<'_>) -> Vec<Partition> {
    let named = |name: &str| guid::named(name, content.seed);
    let verity_bytes = disk::verity_bytes(content.slot_bytes);
    let slot = |labels: [String; 3], guids: [Uuid; 3]| {
        let kinds = [
            content.types.root,
            content.types.verity,
            content.types.signature,
        ];
        let bytes = [content.slot_bytes, verity_bytes, disk::SIGNATURE_BYTES];
        let mut rows = Vec::new();
        for (at, (label, guid)) in labels.into_iter().zip(guids).enumerate() {
            rows.push(Partition {
                label,
                kind: kinds[at],
                guid,
                bytes: bytes[at],
                flags: disk::READ_ONLY | disk::NO_AUTO,
            });
        }
        rows
    };
    let version = content.version;
    let empty = || disk::EMPTY.to_owned();
    let mut rows = vec![Partition {
        label: "ESP".into(),
        kind: disk::ESP,
        guid: named("esp"),
        bytes: content.esp.len(),
        flags: 0,
    }];
    rows.extend(slot(
        [
            version.to_owned(),
            format!("{version}_verity"),
            format!("{version}_sig"),
        ],
        [
            content.verity.root_hash().root_partition(),
            content.verity.root_hash().verity_partition(),
            named("signature a"),
        ],
    ));
    rows.extend(slot(
        [empty(), empty(), empty()],
        [named("root b"), named("verity b"), named("signature b")],
    ));
    rows.push(Partition {
        label: disk::META_LABEL.into(),
        kind: disk::LINUX_GENERIC,
        guid: named("meta"),
        bytes: disk::META_BYTES,
        flags: disk::NO_AUTO,
    });
    rows
}

/// Writes protective MBR and both tables; gives each partition's offset.
fn write_table(
    out: &mut Sparse,
    content: &Disk<'_>,
    partitions: &[Partition],
) -> Result<Vec<u64>, Error> {
    let disk_guid = guid::named("disk", content.seed).to_mixed_endian();
    let mut table = GPT::new_from(&mut out.cursor(), disk::SECTOR, disk_guid).map_err(refused)?;
    let mut offset = ESP_OFFSET;
    let mut offsets = Vec::new();
    for (number, partition) in (1u32..).zip(partitions) {
        let kind: Uuid = partition.kind.parse().map_err(Error::Input)?;
        table[number] = GPTPartitionEntry {
            partition_type_guid: kind.to_mixed_endian(),
            unique_partition_guid: partition.guid.to_mixed_endian(),
            starting_lba: offset / disk::SECTOR,
            ending_lba: (offset + partition.bytes) / disk::SECTOR - 1,
            attribute_bits: partition.flags,
            partition_name: label(&partition.label)?.into(),
        };
        offsets.push(offset);
        offset += aligned(partition.bytes);
    }
    table.write_into(&mut out.cursor()).map_err(refused)?;
    GPT::write_protective_mbr_into(&mut out.cursor(), disk::SECTOR).map_err(refused)?;
    Ok(offsets)
}

/// A label, which GPT limits to 36 UTF-16 units.
fn label(label: &str) -> Result<&str, Error> {
    if label.encode_utf16().count() > 36 {
        return Err(Error::Input(format!(
            "\"{label}\" is longer than a partition label (36): shorten the version"
        )));
    }
    Ok(label)
}

fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(disk::ALIGN)
}

fn refused(error: gptman::Error) -> Error {
    Error::Input(format!("the partition table cannot be written: {error}"))
}

fn unexpected(error: std::io::Error) -> Error {
    Error::Input(format!("the disk is too small for its content: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Output;
    use crate::verity;
    use std::process::Command;

    fn disk() -> (Sparse, Verity) {
        let root = vec![5; 8 * verity::BLOCK];
        let verity = verity::format(&root);
        let mut esp = Sparse::new(32 << 20);
        esp.write_at(100, b"esp").unwrap();
        let content = Disk {
            esp: &esp,
            root: &root,
            verity: &verity,
            types: disk::ROOT_AMD64,
            version: "1.2.3",
            slot_bytes: 64 << 20,
            seed: b"seed",
        };
        (lay_out(&content).unwrap(), verity)
    }

    #[test]
    fn partitions_stand_where_the_layout_says() {
        let (mut disk, verity) = disk();
        let table = GPT::find_from(&mut disk.cursor()).unwrap();
        let labels: Vec<_> = table
            .iter()
            .filter(|(_, row)| row.is_used())
            .map(|(_, row)| row.partition_name.as_str().to_owned())
            .collect();
        assert_eq!(
            labels,
            [
                "ESP",
                "1.2.3",
                "1.2.3_verity",
                "1.2.3_sig",
                "_empty",
                "_empty",
                "_empty",
                "bedplate-meta"
            ]
        );
        assert_eq!(
            table[2].unique_partition_guid,
            verity.root_hash().root_partition().to_mixed_endian()
        );
        assert_eq!(
            table[3].unique_partition_guid,
            verity.root_hash().verity_partition().to_mixed_endian()
        );
        let mut first = [0; 4];
        disk.read_at(table[2].starting_lba * 512, &mut first)
            .unwrap();
        assert_eq!(first, [5; 4]);
        disk.read_at(table[3].starting_lba * 512, &mut first)
            .unwrap();
        assert_eq!(&first, b"veri");
    }

    #[test]
    fn a_root_larger_than_its_slot_is_refused() {
        let root = vec![5; 8 * verity::BLOCK];
        let verity = verity::format(&root);
        let content = Disk {
            esp: &Sparse::new(1 << 20),
            root: &root,
            verity: &verity,
            types: disk::ROOT_AMD64,
            version: "1",
            slot_bytes: 4096,
            seed: b"",
        };
        assert!(
            lay_out(&content)
                .unwrap_err()
                .to_string()
                .contains("raise slot_size")
        );
    }

    #[test]
    fn sgdisk_finds_no_fault_where_it_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let mut output = Output::open(folder.path(), &crate::Quiet).unwrap();
        output.write_sparse("disk", &disk().0).unwrap();
        output.publish().unwrap();
        let Ok(check) = Command::new("/usr/sbin/sgdisk")
            .arg("-v")
            .arg(&path)
            .output()
        else {
            qemu_tests::runner::skip("gdisk is not installed");
            return;
        };
        let said = String::from_utf8_lossy(&check.stdout);
        assert!(
            check.status.success() && said.contains("No problems found"),
            "{said}"
        );
    }
}
