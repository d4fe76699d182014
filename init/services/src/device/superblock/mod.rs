//! UUID and label of what a block device holds. One file per kind, one row each in [`PROBES`].
//!
//! Probes see a [`Source`] that gives a bounded number of bytes at an offset, and treat them as hostile.

mod erofs;
mod ext;
mod iso9660;
mod luks;
mod swap;
mod vfat;
mod xfs;

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Most bytes that one probe reads at once.
const READ_MAX: usize = 4096;

/// What a superblock says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Kind, as blkid(8) names it.
    pub kind: &'static str,
    /// UUID as it is written, empty if there is none.
    pub uuid: String,
    /// Label, empty if there is none.
    pub label: String,
}

type Probe = fn(&dyn Source) -> Option<Found>;

/// What is outermost comes first: LUKS may leave remains of a file system behind it.
const PROBES: &[Probe] = &[
    luks::probe,
    swap::probe,
    ext::probe,
    xfs::probe,
    erofs::probe,
    iso9660::probe,
    vfat::probe,
];

/// Finds what is there.
pub(crate) fn probe(source: &dyn Source) -> Option<Found> {
    PROBES.iter().find_map(|probe| probe(source))
}

/// Bytes of a device.
pub(crate) trait Source {
    /// Exactly `length` bytes at `offset`.
    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>>;
}

impl Source for File {
    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length.min(READ_MAX)];
        self.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}

#[cfg(test)]
impl Source for Vec<u8> {
    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let start = usize::try_from(offset).ok()?;
        Some(self.get(start..start.checked_add(length)?)?.to_vec())
    }
}

/// Whether these bytes stand at this place.
fn has(block: &[u8], at: usize, magic: &[u8]) -> bool {
    block.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

/// The 16 bytes at a place as a UUID, empty if they are zero.
fn uuid_at(block: &[u8], at: usize) -> String {
    let bytes: Option<[u8; 16]> = block
        .get(at..at + 16)
        .and_then(|bytes| bytes.try_into().ok());
    match bytes {
        Some(bytes) if bytes != [0; 16] => spec_layout::gpt::Uuid::from_bytes(bytes).to_string(),
        _ => String::new(),
    }
}

/// The text in a field that zeros or spaces fill up.
fn text_at(block: &[u8], at: usize, length: usize) -> String {
    let field = block.get(at..at + length).unwrap_or_default();
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default())
        .trim_end()
        .to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A disk with these bytes at these places.
    pub(crate) fn disk(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 72 * 1024];
        for (at, part) in parts {
            bytes[*at..at + part.len()].copy_from_slice(part);
        }
        bytes
    }

    #[test]
    fn an_empty_or_short_device_holds_nothing() {
        assert_eq!(probe(&disk(&[])), None);
        assert_eq!(probe(&vec![0; 3]), None);
        assert_eq!(probe(&Vec::new()), None);
    }

    const MAGICS: [(usize, &[u8]); 9] = [
        (0, b"LUKS\xba\xbe"),
        (0, b"XFSB"),
        (4086, b"SWAPSPACE2"),
        (1080, &[0x53, 0xef]),
        (1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
        (32769, b"CD001"),
        (82, b"FAT32   "),
        (54, b"FAT16   "),
        (510, &[0x55, 0xaa]),
    ];

    proptest! {
        #[test]
        fn no_superblock_makes_it_panic(
            start in proptest::collection::vec(any::<u8>(), 0..2200),
            chosen in proptest::collection::vec(0..MAGICS.len(), 0..4),
            length in 0usize..70_000,
        ) {
            let mut bytes = disk(&[(0, &start)]);
            for magic in chosen {
                let (at, magic) = MAGICS[magic];
                bytes[at..at + magic.len()].copy_from_slice(magic);
            }
            bytes.truncate(length);
            let _ = probe(&bytes);
        }
    }
}
