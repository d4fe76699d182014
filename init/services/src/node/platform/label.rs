//! The labels of file systems that a config disk may have, from their superblocks.
//!
//! FAT: Microsoft's FAT specification 1.03, BS_VolLab. ext4: kernel Documentation/filesystems/ext4/super.rst,
//! s_volume_name. ISO 9660: ECMA-119, 8.4.7.

use std::io::{Read, Seek, SeekFrom};

/// A file system a config disk may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Vfat,
    Ext4,
    Iso9660,
}

impl Kind {
    /// The kernel's name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Vfat => "vfat",
            Self::Ext4 => "ext4",
            Self::Iso9660 => "iso9660",
        }
    }
}

/// How a file system is known: its magic, and where its label is.
struct Superblock {
    kind: Kind,
    magic: (u64, &'static [u8]),
    label: (u64, usize),
}

const SUPERBLOCKS: &[Superblock] = &[
    Superblock {
        kind: Kind::Vfat,
        magic: (82, b"FAT32   "),
        label: (71, 11),
    },
    Superblock {
        kind: Kind::Vfat,
        magic: (54, b"FAT16   "),
        label: (43, 11),
    },
    Superblock {
        kind: Kind::Vfat,
        magic: (54, b"FAT12   "),
        label: (43, 11),
    },
    Superblock {
        kind: Kind::Ext4,
        magic: (1080, &[0x53, 0xef]),
        label: (1144, 16),
    },
    Superblock {
        kind: Kind::Iso9660,
        magic: (32769, b"CD001"),
        label: (32808, 32),
    },
];

/// Kind and label of the file system in `device`, if it is one of those.
pub(super) fn read(device: &mut (impl Read + Seek)) -> Option<(Kind, String)> {
    SUPERBLOCKS.iter().find_map(|superblock| {
        let (offset, magic) = superblock.magic;
        if bytes(device, offset, magic.len())? != magic {
            return None;
        }
        let (offset, length) = superblock.label;
        let label = bytes(device, offset, length)?;
        let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
        Some((
            superblock.kind,
            String::from_utf8_lossy(label).trim_end().to_owned(),
        ))
    })
}

fn bytes(device: &mut (impl Read + Seek), offset: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    device.seek(SeekFrom::Start(offset)).ok()?;
    device.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use super::*;

    fn image(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut image = vec![0; 40_000];
        for (offset, bytes) in parts {
            image[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        image
    }

    pub(in super::super) fn fat32(label: &str) -> Vec<u8> {
        image(&[
            (82, b"FAT32   "),
            (71, format!("{label:<11.11}").as_bytes()),
        ])
    }

    pub(in super::super) fn ext4(label: &str) -> Vec<u8> {
        image(&[(1080, &[0x53, 0xef]), (1144, label.as_bytes())])
    }

    fn kind_and_label(image: Vec<u8>) -> Option<(Kind, String)> {
        read(&mut Cursor::new(image))
    }

    #[test]
    fn labels_are_read_from_each_kind() {
        assert_eq!(
            kind_and_label(ext4("BEDPLATE-CFG")),
            Some((Kind::Ext4, "BEDPLATE-CFG".to_owned()))
        );
        let iso = image(&[
            (32769, b"CD001"),
            (32808, b"BEDPLATE-CFG                    "),
        ]);
        assert_eq!(
            kind_and_label(iso),
            Some((Kind::Iso9660, "BEDPLATE-CFG".to_owned()))
        );
        let fat16 = image(&[(54, b"FAT16   "), (43, b"BEDPLATECFG")]);
        assert_eq!(
            kind_and_label(fat16),
            Some((Kind::Vfat, "BEDPLATECFG".to_owned()))
        );
    }

    #[test]
    fn short_or_foreign_devices_have_no_label() {
        assert_eq!(kind_and_label(Vec::new()), None);
        assert_eq!(kind_and_label(vec![0xff; 90]), None);
    }
}
