//! Disk images: which file system a file holds, and which partitions of a table make a root.
//!
//! Sources: the superblocks of the kernel's file systems, UAPI Discoverable Partitions Specification.

use crate::disk::{LINUX_GENERIC, NO_AUTO, RootTypes};
use crate::gpt::Partition;
use crate::verity::RootHash;

/// Bytes from the start of a file system that its kind is told by.
pub const START_BYTES: usize = 65_608;

/// A file system that an image may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// erofs.
    Erofs,
    /// squashfs.
    Squashfs,
    /// ext4, and what it reads: ext2 and ext3.
    Ext4,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// FAT with long names.
    Vfat,
}

/// Where each has its mark, those of which a part of the others could be taken for come last.
const MARKS: [(FileSystem, usize, &[u8]); 7] = [
    (FileSystem::Squashfs, 0, b"hsqs"),
    (FileSystem::Xfs, 0, b"XFSB"),
    (FileSystem::Erofs, 1024, &0xe0f5_e1e2u32.to_le_bytes()),
    (FileSystem::Ext4, 1080, &0xef53u16.to_le_bytes()),
    (FileSystem::Btrfs, 65_600, b"_BHRfS_M"),
    (FileSystem::Vfat, 82, b"FAT32   "),
    (FileSystem::Vfat, 54, b"FAT1"),
];

impl FileSystem {
    /// By the first [`START_BYTES`] of it, or fewer if it is shorter.
    pub fn of(start: &[u8]) -> Option<Self> {
        let is =
            |(_, at, mark): &&(Self, usize, &[u8])| start.get(*at..at + mark.len()) == Some(*mark);
        MARKS.iter().find(is).map(|(kind, ..)| *kind)
    }

    /// Name of its driver.
    pub fn name(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Vfat => "vfat",
        }
    }

    /// The option by which its driver writes nothing, whatever its log says.
    pub fn without_recovery(self) -> Option<&'static str> {
        match self {
            Self::Ext4 | Self::Xfs => Some("norecovery"),
            Self::Btrfs => Some("rescue=nologreplay"),
            Self::Erofs | Self::Squashfs | Self::Vfat => None,
        }
    }
}

/// The partitions of an image that make its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootParts<'a> {
    /// The file system.
    pub root: &'a Partition,
    /// Its dm-verity tree, where a root hash names one.
    pub verity: Option<&'a Partition>,
}

/// Finds the root among partitions: those that a root hash names, or the first of the root's type, or the only one of
/// type linux-generic.
pub fn find_root<'a>(
    partitions: &'a [Partition],
    types: &RootTypes,
    hash: Option<&RootHash>,
) -> Result<RootParts<'a>, String> {
    if let Some(hash) = hash {
        let named = |unique, kind: &str| {
            let mut found = partitions.iter();
            found.find(|part| part.unique == unique && part.kind.to_string() == kind)
        };
        let root = named(hash.root_partition(), types.root);
        let verity = named(hash.verity_partition(), types.verity);
        return match (root, verity) {
            (Some(root), Some(verity)) => Ok(RootParts {
                root,
                verity: Some(verity),
            }),
            _ => Err(format!(
                "of its {} partitions none are the root {} and the tree {} that the root hash names",
                partitions.len(),
                hash.root_partition(),
                hash.verity_partition(),
            )),
        };
    }
    let of_kind = |kind: &'static str| {
        let found = partitions.iter();
        found.filter(move |part| part.kind.to_string() == kind && part.flags & NO_AUTO == 0)
    };
    let mut generic = of_kind(LINUX_GENERIC);
    let only = generic.next().filter(|_| generic.next().is_none());
    match of_kind(types.root).next().or(only) {
        Some(root) => Ok(RootParts { root, verity: None }),
        None => Err(format!(
            "none of its {} partitions is a root: type {} is missing, and there is not just one of type {LINUX_GENERIC}",
            partitions.len(),
            types.root,
        )),
    }
}

/// Offset and length in bytes of a partition of an image of `image_bytes` with sectors of `sector` bytes.
pub fn span(partition: &Partition, sector: u64, image_bytes: u64) -> Result<(u64, u64), String> {
    let outside = || {
        format!(
            "partition {} ends behind the image of {image_bytes} bytes",
            partition.number
        )
    };
    let start = partition.first_lba.checked_mul(sector);
    let end = partition.last_lba.checked_add(1);
    let end = end.and_then(|end| end.checked_mul(sector));
    match (start, end) {
        (Some(start), Some(end)) if start < end && end <= image_bytes => Ok((start, end - start)),
        _ => Err(outside()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::ROOT_AMD64;
    use crate::gpt::Uuid;

    fn part(number: u32, kind: &str, unique: u8) -> Partition {
        Partition {
            number,
            kind: kind.parse().unwrap(),
            unique: Uuid::from_bytes([unique; 16]),
            first_lba: 2048,
            last_lba: 4095,
            flags: 0,
            label: String::new(),
        }
    }

    #[test]
    fn each_file_system_is_told_by_its_mark() {
        for (kind, at, mark) in MARKS {
            let mut start = vec![0; START_BYTES];
            start[at..at + mark.len()].copy_from_slice(mark);
            assert_eq!(FileSystem::of(&start), Some(kind));
            assert_eq!(FileSystem::of(&start[..at + mark.len() - 1]), None);
        }
        assert_eq!(FileSystem::of(&[]), None);
        assert_eq!(FileSystem::of(&[0; START_BYTES]), None);
    }

    #[test]
    fn without_a_hash_the_type_says_which_is_the_root() {
        let parts = [
            part(1, crate::disk::ESP, 1),
            part(2, ROOT_AMD64.root, 2),
            part(3, ROOT_AMD64.root, 3),
        ];
        let found = |parts: &[Partition]| {
            find_root(parts, &ROOT_AMD64, None).map(|found| found.root.number)
        };
        assert_eq!(found(&parts), Ok(2));
        let mut hidden = parts.clone();
        hidden[1].flags = NO_AUTO;
        assert_eq!(found(&hidden), Ok(3));
        let generic = [part(1, LINUX_GENERIC, 1), part(2, crate::disk::ESP, 2)];
        assert_eq!(found(&generic), Ok(1));
        let two = [part(1, LINUX_GENERIC, 1), part(2, LINUX_GENERIC, 2)];
        assert!(found(&two).unwrap_err().contains("none of its 2"));
        assert!(found(&[]).is_err());
    }

    #[test]
    fn a_hash_names_both_partitions() {
        let hash = RootHash::parse(&["aa".repeat(16), "bb".repeat(16)].concat()).unwrap();
        let parts = [
            part(1, ROOT_AMD64.root, 1),
            part(2, ROOT_AMD64.root, 0xaa),
            part(3, ROOT_AMD64.verity, 0xbb),
        ];
        let found = find_root(&parts, &ROOT_AMD64, Some(&hash)).unwrap();
        assert_eq!(found.root.number, 2);
        assert_eq!(found.verity.unwrap().number, 3);
        let told = find_root(&parts[..2], &ROOT_AMD64, Some(&hash)).unwrap_err();
        assert!(told.contains("bbbbbbbb-"), "{told}");
    }

    #[test]
    fn a_partition_stays_within_its_image() {
        let root = part(1, ROOT_AMD64.root, 1);
        assert_eq!(span(&root, 512, 4096 * 512), Ok((2048 * 512, 2048 * 512)));
        assert!(span(&root, 512, 4096 * 512 - 1).is_err());
    }

    proptest! {
        #[test]
        fn no_partition_leads_out_of_an_image(first: u64, last: u64, sector in 1u64..=4096, bytes: u64) {
            let odd = Partition { first_lba: first, last_lba: last, ..part(1, ROOT_AMD64.root, 1) };
            if let Ok((start, length)) = span(&odd, sector, bytes) {
                prop_assert!(length > 0 && start.checked_add(length).unwrap() <= bytes);
            }
        }
    }
}
