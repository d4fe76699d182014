//! Reading a GUID partition table that may be broken or hostile.
//!
//! Only what PID 1 needs to find its root among the disks of a machine: which partition number has which unique
//! GUID, type and label. Everything is bounded and checked by CRC before it is believed.
//!
//! Source: UEFI specification, chapter "GUID Partition Table (GPT) Disk Layout".

use std::fmt;
use std::str::FromStr;

/// Most bytes of an entry array that is read; the usual one has 16 KiB.
pub const ENTRIES_MAX_BYTES: u32 = 128 * 1024;

/// A UUID in the order of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// From bytes in text order.
    pub const fn from_bytes(bytes: [u8; 16]) -> Uuid {
        Uuid(bytes)
    }

    /// From bytes as GPT and SMBIOS store them: the first three fields little-endian.
    pub fn from_mixed_endian(mut bytes: [u8; 16]) -> Uuid {
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        Uuid(bytes)
    }

    /// Bytes in text order.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Bytes as GPT stores them.
    pub fn to_mixed_endian(self) -> [u8; 16] {
        Uuid::from_mixed_endian(self.0).0
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = String;

    fn from_str(text: &str) -> Result<Uuid, String> {
        let wrong = || format!("\"{text}\" is not a UUID");
        let groups: Vec<&str> = text.split('-').collect();
        if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
            return Err(wrong());
        }
        let digits = groups.concat();
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let value = u128::from_str_radix(&digits, 16).map_err(|_| wrong())?;
        Ok(Uuid(value.to_be_bytes()))
    }
}

/// The header, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Sector of the entry array.
    pub entries_lba: u64,
    /// Entries in the array.
    pub entries: u32,
    /// Bytes of one entry.
    pub entry_bytes: u32,
    /// First sector a partition may use.
    pub first_usable: u64,
    /// Last sector a partition may use.
    pub last_usable: u64,
    /// Sector of the other header.
    pub other_lba: u64,
    entries_crc: u32,
}

impl Header {
    /// Reads the header from the sector at `lba`.
    pub fn parse(sector: &[u8], lba: u64) -> Result<Header, String> {
        if sector.get(..8) != Some(b"EFI PART") {
            return Err("no GUID partition table".to_owned());
        }
        let header_bytes = number(sector, 12, 4) as usize;
        if !(92..=512).contains(&header_bytes) || header_bytes > sector.len() {
            return Err(format!("a header of {header_bytes} bytes is not possible"));
        }
        let mut covered = sector.get(..header_bytes).unwrap_or_default().to_vec();
        covered
            .iter_mut()
            .skip(16)
            .take(4)
            .for_each(|byte| *byte = 0);
        if crc32(&covered) != number(sector, 16, 4) as u32 {
            return Err("the checksum of the header is wrong".to_owned());
        }
        if number(sector, 24, 8) != lba {
            return Err(format!(
                "the header says it is at sector {}, not {lba}",
                number(sector, 24, 8)
            ));
        }
        let header = Header {
            other_lba: number(sector, 32, 8),
            first_usable: number(sector, 40, 8),
            last_usable: number(sector, 48, 8),
            entries_lba: number(sector, 72, 8),
            entries: number(sector, 80, 4) as u32,
            entry_bytes: number(sector, 84, 4) as u32,
            entries_crc: number(sector, 88, 4) as u32,
        };
        let size = header.entries.checked_mul(header.entry_bytes);
        if header.entry_bytes < 128
            || !header.entry_bytes.is_multiple_of(8)
            || size.is_none_or(|size| size > ENTRIES_MAX_BYTES)
        {
            return Err(format!(
                "{} entries of {} bytes are not possible",
                header.entries, header.entry_bytes
            ));
        }
        Ok(header)
    }

    /// Bytes of the entry array.
    pub fn entries_bytes(&self) -> usize {
        self.entries as usize * self.entry_bytes as usize
    }

    /// Reads the used entries from the bytes at [`entries_lba`](Self::entries_lba).
    pub fn partitions(&self, array: &[u8]) -> Result<Vec<Partition>, String> {
        let array = array
            .get(..self.entries_bytes())
            .ok_or("the entry array is cut short")?;
        if crc32(array) != self.entries_crc {
            return Err("the checksum of the partition entries is wrong".to_owned());
        }
        let entries = array.chunks_exact(self.entry_bytes as usize).zip(1..);
        entries
            .filter(|(entry, _)| entry.iter().take(16).any(|&byte| byte != 0))
            .map(|(entry, number)| self.partition(entry, number))
            .collect()
    }

    fn partition(&self, entry: &[u8], index: u32) -> Result<Partition, String> {
        let (first, last) = (number(entry, 32, 8), number(entry, 40, 8));
        if first > last || first < self.first_usable || last > self.last_usable {
            return Err(format!(
                "partition {index} lies outside of the disk: sectors {first} to {last}"
            ));
        }
        let name = entry
            .get(56..128)
            .unwrap_or_default()
            .chunks_exact(2)
            .map(|pair| number(pair, 0, 2) as u16);
        let name: Vec<u16> = name.take_while(|&unit| unit != 0).collect();
        Ok(Partition {
            number: index,
            kind: Uuid::from_mixed_endian(sixteen(entry, 0)),
            unique: Uuid::from_mixed_endian(sixteen(entry, 16)),
            first_lba: first,
            last_lba: last,
            flags: number(entry, 48, 8),
            label: String::from_utf16_lossy(&name),
        })
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Number, from 1, as in the device's name.
    pub number: u32,
    /// Type GUID.
    pub kind: Uuid,
    /// Unique GUID.
    pub unique: Uuid,
    /// First sector.
    pub first_lba: u64,
    /// Last sector, included.
    pub last_lba: u64,
    /// Attribute bits.
    pub flags: u64,
    /// Label.
    pub label: String,
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes
        .iter()
        .skip(at)
        .take(len)
        .rev()
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

fn sixteen(bytes: &[u8], at: usize) -> [u8; 16] {
    let mut out = [0; 16];
    out.iter_mut()
        .zip(bytes.iter().skip(at))
        .for_each(|(to, from)| *to = *from);
    out
}

/// CRC-32 as of IEEE 802.3.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A table with one partition, as sector 1 and the entry array.
    fn table() -> (Vec<u8>, Vec<u8>) {
        let mut array = vec![0; 128 * 128];
        array[..16].copy_from_slice(
            &crate::disk::LINUX_GENERIC
                .parse::<Uuid>()
                .unwrap()
                .to_mixed_endian(),
        );
        array[16..32].copy_from_slice(&[7; 16]);
        array[32..40].copy_from_slice(&2048u64.to_le_bytes());
        array[40..48].copy_from_slice(&4095u64.to_le_bytes());
        for (at, unit) in "bedplate-state".encode_utf16().enumerate() {
            array[56 + 2 * at..58 + 2 * at].copy_from_slice(&unit.to_le_bytes());
        }
        let mut sector = vec![0; 512];
        sector[..8].copy_from_slice(b"EFI PART");
        for (at, value, len) in [
            (8, 0x10000, 4),
            (12, 92, 4),
            (24, 1, 8),
            (32, 9999, 8),
            (40, 34, 8),
            (48, 9000, 8),
            (72, 2, 8),
            (80, 128, 4),
            (84, 128, 4),
        ] {
            sector[at..at + len].copy_from_slice(&u64::to_le_bytes(value)[..len]);
        }
        sector[88..92].copy_from_slice(&crc32(&array).to_le_bytes());
        seal(&mut sector);
        (sector, array)
    }

    fn seal(sector: &mut [u8]) {
        sector[16..20].fill(0);
        let crc = crc32(&sector[..92]);
        sector[16..20].copy_from_slice(&crc.to_le_bytes());
    }

    #[test]
    fn a_partition_is_found_by_number_type_and_label() {
        let (sector, array) = table();
        let header = Header::parse(&sector, 1).unwrap();
        let partitions = header.partitions(&array).unwrap();
        assert_eq!(partitions.len(), 1);
        let state = &partitions[0];
        assert_eq!(
            (state.number, state.first_lba, state.last_lba),
            (1, 2048, 4095)
        );
        assert_eq!(
            (state.label.as_str(), state.kind.to_string().as_str()),
            ("bedplate-state", crate::disk::LINUX_GENERIC)
        );
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let (sector, mut array) = table();
        let header = Header::parse(&sector, 1).unwrap();
        array[60] ^= 1;
        assert!(
            header
                .partitions(&array)
                .unwrap_err()
                .contains("checksum of the partition entries")
        );
        assert!(
            header
                .partitions(&array[..100])
                .unwrap_err()
                .contains("cut short")
        );
        assert!(
            Header::parse(&sector, 2)
                .unwrap_err()
                .contains("at sector 1, not 2")
        );
        assert!(Header::parse(&[0; 512], 1).unwrap_err().contains("no GUID"));
        let mut flipped = sector.clone();
        flipped[41] ^= 1;
        assert!(
            Header::parse(&flipped, 1)
                .unwrap_err()
                .contains("checksum of the header")
        );
        let mut huge = sector;
        huge[80..84].fill(0xff);
        seal(&mut huge);
        assert!(
            Header::parse(&huge, 1)
                .unwrap_err()
                .contains("not possible")
        );
    }

    #[test]
    fn a_uuid_reads_back() {
        let text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid.to_string(), text);
        assert_eq!(Uuid::from_mixed_endian(uuid.to_mixed_endian()), uuid);
        assert_eq!(uuid.to_mixed_endian()[..4], [0x28, 0x73, 0x2a, 0xc1]);
        for wrong in [
            "",
            "c12a7328",
            "+12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            "c12a7328f-81f-11d2-ba4b-00a0c93ec93b",
        ] {
            assert!(wrong.parse::<Uuid>().is_err());
        }
    }

    proptest! {
        #[test]
        fn a_resealed_table_with_noise_never_panics(noise in proptest::collection::vec((12usize..92, any::<u8>()), 0..8), array_noise in proptest::collection::vec((0usize..256, any::<u8>()), 0..8)) {
            let (mut sector, mut array) = table();
            array_noise.into_iter().for_each(|(at, value)| array[at] = value);
            sector[88..92].copy_from_slice(&crc32(&array).to_le_bytes());
            noise.into_iter().for_each(|(at, value)| sector[at] = value);
            seal(&mut sector);
            if let Ok(header) = Header::parse(&sector, 1) {
                let _ = header.partitions(&array);
            }
        }
    }
}
