//! ext2, ext3 and ext4 (Documentation/filesystems/ext4/globals.rst).

use crate::device::superblock::{Found, Source, has, text_at, uuid_at};

const COMPAT_HAS_JOURNAL: u32 = 0x4;
/// Features that ext3 does not have: a file system with one of them is ext4.
const INCOMPAT_EXT3: u32 = 0x2 | 0x4 | 0x10;

pub(super) fn probe(source: &dyn Source) -> Option<Found> {
    let block = source.read(1024, 1024)?;
    if !has(&block, 56, &[0x53, 0xef]) {
        return None;
    }
    let number = |at: usize| Some(u32::from_le_bytes(*block.get(at..)?.first_chunk()?));
    let (compat, incompat) = (number(92)?, number(96)?);
    let kind = match (compat & COMPAT_HAS_JOURNAL, incompat & !INCOMPAT_EXT3) {
        (0, 0) => "ext2",
        (_, 0) => "ext3",
        _ => "ext4",
    };
    Some(Found {
        kind,
        uuid: uuid_at(&block, 104),
        label: text_at(&block, 120, 16),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::superblock::tests::disk;

    #[test]
    fn uuid_and_label_are_read() {
        let uuid = [0xf1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        let bytes = disk(&[
            (1024 + 56, &[0x53, 0xef]),
            (1024 + 92, &[0x4, 0, 0, 0]),
            (1024 + 96, &[0x40, 0, 0, 0]),
            (1024 + 104, &uuid),
            (1024 + 120, b"bedplate-state\0x"),
        ]);
        let found = probe(&bytes).unwrap();
        assert_eq!(
            (found.kind, found.label.as_str()),
            ("ext4", "bedplate-state")
        );
        assert_eq!(found.uuid, "f1020304-0506-0708-090a-0b0c0d0e0f10");
    }
}
