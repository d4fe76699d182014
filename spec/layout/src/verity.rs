//! dm-verity as `veritysetup format` lays it down: the root hash, the partitions it names, the superblock.
//!
//! Source: cryptsetup's "on-disk format" of dm-verity (version 1), UAPI Discoverable Partitions Specification.

use crate::gpt::Uuid;

/// Bytes of the superblock that are read.
pub const SUPERBLOCK_BYTES: usize = 512;

/// Root of the hash tree, SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootHash([u8; 32]);

impl RootHash {
    /// Reads the 64 hex digits of `roothash=`.
    pub fn parse(text: &str) -> Result<RootHash, String> {
        let mut hash = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(format!(
                "a root hash has 64 hex digits, this one has {}",
                digits.len()
            ));
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
            let value = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
            *byte = value.ok_or_else(|| format!("\"{text}\" is not hexadecimal"))?;
        }
        Ok(RootHash(hash))
    }

    /// UUID of the partition that holds the file system: the first 128 bits.
    pub fn root_partition(&self) -> Uuid {
        self.half(0)
    }

    /// UUID of the partition that holds the hash tree: the last 128 bits.
    pub fn verity_partition(&self) -> Uuid {
        self.half(16)
    }

    fn half(&self, from: usize) -> Uuid {
        let mut bytes = [0; 16];
        bytes
            .iter_mut()
            .zip(self.0.iter().skip(from))
            .for_each(|(to, from)| *to = *from);
        Uuid::from_bytes(bytes)
    }
}

impl std::fmt::Display for RootHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What the superblock says of the tree that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Bytes of a data block.
    pub data_block: u32,
    /// Bytes of a hash block.
    pub hash_block: u32,
    /// Data blocks covered.
    pub data_blocks: u64,
    /// Salt of every hash; may be empty.
    pub salt: Vec<u8>,
}

impl Superblock {
    /// Reads a superblock. It is not signed: what it says can only make the root hash not match, but it is
    /// bounded here so that it cannot make the kernel or us allocate or overflow.
    pub fn parse(bytes: &[u8; SUPERBLOCK_BYTES]) -> Result<Superblock, String> {
        let field = |at: usize, len: usize| bytes.get(at..at + len).unwrap_or_default();
        let number = |at: usize, len: usize| {
            field(at, len)
                .iter()
                .rev()
                .fold(0, |sum, &byte| sum << 8 | u64::from(byte))
        };
        if field(0, 8) != b"verity\0\0" {
            return Err("no dm-verity superblock".to_owned());
        }
        if (number(8, 4), number(12, 4)) != (1, 1) {
            return Err(format!(
                "dm-verity version {} type {} is not known, 1 and 1 are",
                number(8, 4),
                number(12, 4)
            ));
        }
        if field(32, 32).split(|&byte| byte == 0).next() != Some(b"sha256") {
            return Err("the hash of the dm-verity tree is not sha256".to_owned());
        }
        let block = |at: usize| match number(at, 4) {
            size @ (512 | 1024 | 2048 | 4096) => Ok(size as u32),
            size => Err(format!("a dm-verity block of {size} bytes is not possible")),
        };
        let (data_blocks, salt_len) = (number(72, 8), number(80, 2));
        if data_blocks == 0 || data_blocks > 1 << 40 {
            return Err(format!("{data_blocks} data blocks are not possible"));
        }
        if salt_len > 256 {
            return Err(format!("a salt of {salt_len} bytes is not possible"));
        }
        let salt = field(88, salt_len as usize).to_vec();
        Ok(Superblock {
            data_block: block(64)?,
            hash_block: block(68)?,
            data_blocks,
            salt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn superblock() -> [u8; SUPERBLOCK_BYTES] {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        bytes[..8].copy_from_slice(b"verity\0\0");
        bytes[8] = 1;
        bytes[12] = 1;
        bytes[32..38].copy_from_slice(b"sha256");
        bytes[64..68].copy_from_slice(&4096u32.to_le_bytes());
        bytes[68..72].copy_from_slice(&4096u32.to_le_bytes());
        bytes[72..80].copy_from_slice(&77u64.to_le_bytes());
        bytes[80] = 2;
        bytes[88..90].copy_from_slice(&[0xab, 0xcd]);
        bytes
    }

    #[test]
    fn the_root_hash_names_both_partitions() {
        let text = "00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        let hash = RootHash::parse(text).unwrap();
        assert_eq!(
            hash.root_partition().to_string(),
            "00112233-4455-6677-8899-aabbccddeeff"
        );
        assert_eq!(
            hash.verity_partition().to_string(),
            "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
        );
        assert_eq!(hash.to_string(), text);
    }

    #[test]
    fn a_broken_root_hash_is_refused() {
        assert!(
            RootHash::parse("abcd")
                .unwrap_err()
                .contains("64 hex digits")
        );
        assert!(RootHash::parse(&"+1".repeat(32)).is_err());
        assert!(RootHash::parse(&"é".repeat(32)).is_err());
    }

    #[test]
    fn a_superblock_reads_and_a_foreign_one_is_refused() {
        let parsed = Superblock::parse(&superblock()).unwrap();
        assert_eq!(
            (parsed.data_block, parsed.data_blocks, parsed.salt),
            (4096, 77, vec![0xab, 0xcd])
        );
        for (at, value, said) in [
            (0, 0, "no dm-verity"),
            (8, 2, "version"),
            (32, b'm', "sha256"),
            (65, 0x40, "16384"),
            (81, 9, "salt"),
        ] {
            let mut bytes = superblock();
            bytes[at] = value;
            let error = Superblock::parse(&bytes).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_superblock_panics(noise in proptest::collection::vec((0..SUPERBLOCK_BYTES, any::<u8>()), 0..12)) {
            let mut bytes = superblock();
            noise.into_iter().for_each(|(at, value)| bytes[at] = value);
            if let Ok(parsed) = Superblock::parse(&bytes) {
                prop_assert!(parsed.salt.len() <= 256 && parsed.data_blocks > 0);
            }
        }
    }
}
