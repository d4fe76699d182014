//! FAT12, FAT16 and FAT32 (Microsoft's FAT specification). The UUID is the volume serial number; the label is the one
//! of the root folder, else that of the boot sector.

use crate::device::superblock::{Found, Source, has, text_at};

const NO_NAME: &str = "NO NAME";
const ENTRY_BYTES: usize = 32;
const ATTRIBUTE_VOLUME: u8 = 0x08;
const ATTRIBUTE_LONG_NAME: u8 = 0x0f;

pub(super) fn probe(source: &dyn Source) -> Option<Found> {
    let sector = source.read(0, 512)?;
    if !has(&sector, 510, &[0x55, 0xaa]) {
        return None;
    }
    let (wide, extended) = match () {
        () if has(&sector, 82, b"FAT32   ") => (true, 64),
        () if has(&sector, 54, b"FAT16   ") || has(&sector, 54, b"FAT12   ") => (false, 36),
        () => return None,
    };
    let serial = u32::from_le_bytes(*sector.get(extended + 3..)?.first_chunk()?);
    let label =
        root_label(source, &sector, wide).unwrap_or_else(|| text_at(&sector, extended + 7, 11));
    Some(Found {
        kind: "vfat",
        uuid: if serial == 0 {
            String::new()
        } else {
            format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)
        },
        label: if label == NO_NAME {
            String::new()
        } else {
            label
        },
    })
}

/// The label among the first entries of the root folder.
fn root_label(source: &dyn Source, sector: &[u8], wide: bool) -> Option<String> {
    let half = |at: usize| {
        Some(u64::from(u16::from_le_bytes(
            *sector.get(at..)?.first_chunk()?,
        )))
    };
    let word = |at: usize| {
        Some(u64::from(u32::from_le_bytes(
            *sector.get(at..)?.first_chunk()?,
        )))
    };
    let bytes_per_sector = half(11)?;
    let sectors_per_cluster = u64::from(*sector.get(13)?);
    let (reserved, fats) = (half(14)?, u64::from(*sector.get(16)?));
    if !matches!(bytes_per_sector, 512 | 1024 | 2048 | 4096) || sectors_per_cluster == 0 {
        return None;
    }
    let first = if wide {
        let data = reserved + fats * word(36)?;
        data + word(44)?.checked_sub(2)? * sectors_per_cluster
    } else {
        reserved + fats * half(22)?
    };
    let entries = source.read(first.checked_mul(bytes_per_sector)?, 2048)?;
    let is_label = |entry: &&[u8]| {
        let attribute = entry.get(11).copied().unwrap_or(0);
        attribute & ATTRIBUTE_VOLUME != 0
            && attribute != ATTRIBUTE_LONG_NAME
            && !matches!(entry.first(), Some(0 | 0xe5))
    };
    entries
        .chunks_exact(ENTRY_BYTES)
        .find(is_label)
        .map(|entry| text_at(entry, 0, 11))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::superblock::tests::disk;

    #[test]
    fn the_label_of_the_root_folder_counts() {
        let mut label = *b"BEDPLATE-CF                     ";
        label[11] = ATTRIBUTE_VOLUME;
        let bytes = disk(&[
            (11, &[0, 2]),
            (13, &[1]),
            (14, &[32, 0]),
            (16, &[2]),
            (36, &[10, 0, 0, 0]),
            (44, &[2, 0, 0, 0]),
            (67, &[0x34, 0x12, 0xcd, 0xab]),
            (71, b"NO NAME    "),
            (82, b"FAT32   "),
            (510, &[0x55, 0xaa]),
            (52 * 512, &label),
        ]);
        let found = probe(&bytes).unwrap();
        assert_eq!(
            (found.uuid.as_str(), found.label.as_str()),
            ("ABCD-1234", "BEDPLATE-CF")
        );
    }

    #[test]
    fn without_one_it_is_that_of_the_boot_sector() {
        let boot = |label: &[u8; 11]| {
            disk(&[
                (39, &[1, 0, 0, 0]),
                (43, label),
                (54, b"FAT16   "),
                (510, &[0x55, 0xaa]),
            ])
        };
        assert_eq!(probe(&boot(b"ESP        ")).unwrap().label, "ESP");
        assert_eq!(probe(&boot(b"NO NAME    ")).unwrap().label, "");
        assert_eq!(probe(&boot(b"ESP        ")).unwrap().uuid, "0000-0001");
    }
}
