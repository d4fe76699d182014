//! dm-verity hash tree over a file system, with the superblock that veritysetup writes before it.
//!
//! Format 1 (salt before the data), SHA-256, blocks of 4096 bytes; the result is byte-identical to
//! `veritysetup format --salt S --uuid U`. Source: cryptsetup's `docs/on-disk-format` of verity and the
//! kernel's `Documentation/admin-guide/device-mapper/verity.rst`.

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use spec_layout::gpt::Uuid;
use spec_layout::verity::RootHash;

use crate::guid;

/// Bytes of a data block and of a hash block.
pub(crate) const BLOCK: usize = 4096;
/// Bytes of a SHA-256 digest.
const DIGEST: usize = 32;
/// Digests in one hash block.
const FAN_OUT: usize = BLOCK / DIGEST;

/// A hash tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verity {
    /// The root hash.
    pub(crate) root: [u8; DIGEST],
    /// Superblock and tree, as they stand on the verity partition.
    pub(crate) tree: Vec<u8>,
}

impl Verity {
    /// The root hash in hex, as `roothash=` takes it.
    pub(crate) fn root_hex(&self) -> String {
        hex::encode(self.root)
    }

    /// The root hash, which names the partitions too.
    pub(crate) fn root_hash(&self) -> RootHash {
        RootHash::parse(&self.root_hex()).expect("32 bytes are 64 hex digits")
    }
}

/// Hashes `data`, a whole number of blocks. Salt and UUID follow from the data alone.
pub(crate) fn format(data: &[u8]) -> Verity {
    assert!(
        !data.is_empty() && data.len().is_multiple_of(BLOCK),
        "the file system ends on a block"
    );
    let identity = Sha256::digest(data);
    let salt = Sha256::new()
        .chain_update(b"bedplate verity salt")
        .chain_update(identity)
        .finalize();
    let uuid = guid::named("verity", &identity);
    format_with(data, &salt, uuid)
}

/// Hashes `data` with this salt (at most 256 bytes) and names the tree `uuid`.
fn format_with(data: &[u8], salt: &[u8], uuid: Uuid) -> Verity {
    let salted = Sha256::new_with_prefix(salt);
    let mut levels = vec![level(data, &salted)];
    while let Some(below) = levels.last().filter(|level| level.len() > BLOCK) {
        levels.push(level(below, &salted));
    }
    let top = levels.last().map_or(data, Vec::as_slice);
    let root = if data.len() == BLOCK {
        digest(data, &salted)
    } else {
        digest(top, &salted)
    };

    let mut tree = superblock(data.len() / BLOCK, salt, uuid);
    if data.len() > BLOCK {
        // The disk holds the levels from the top down.
        for level in levels.iter().rev() {
            tree.extend_from_slice(level);
        }
    }
    Verity { root, tree }
}

/// The digests of every block of `below`, padded to whole blocks.
fn level(below: &[u8], salted: &Sha256) -> Vec<u8> {
    let blocks = below.len() / BLOCK;
    let mut out = vec![0; blocks.div_ceil(FAN_OUT) * BLOCK];
    out.par_chunks_exact_mut(DIGEST)
        .zip(below.par_chunks_exact(BLOCK))
        .with_min_len(256)
        .for_each(|(slot, block)| slot.copy_from_slice(&digest(block, salted)));
    out
}

/// The salted digest of one block.
fn digest(block: &[u8], salted: &Sha256) -> [u8; DIGEST] {
    salted.clone().chain_update(block).finalize().into()
}

/// The superblock, alone in its block.
fn superblock(data_blocks: usize, salt: &[u8], uuid: Uuid) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK);
    block.extend_from_slice(b"verity\0\0");
    block.extend_from_slice(&1u32.to_le_bytes()); // superblock version
    block.extend_from_slice(&1u32.to_le_bytes()); // hash type: salt first
    block.extend_from_slice(&uuid.to_bytes());
    block.extend_from_slice(b"sha256");
    block.resize(64, 0); // algorithm: 32 bytes
    block.extend_from_slice(&(BLOCK as u32).to_le_bytes()); // data block size
    block.extend_from_slice(&(BLOCK as u32).to_le_bytes()); // hash block size
    block.extend_from_slice(&(data_blocks as u64).to_le_bytes());
    block.extend_from_slice(&(salt.len() as u16).to_le_bytes());
    block.resize(88, 0); // padding
    block.extend_from_slice(salt);
    block.resize(BLOCK, 0);
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Blocks that differ from each other.
    fn blocks(count: usize) -> Vec<u8> {
        (0..count * BLOCK)
            .map(|at| (at / BLOCK * 31 + at % 251) as u8)
            .collect()
    }

    /// Number of blocks, root hash, SHA-256 of the tree.
    const GOLDEN: &[(usize, &str, &str)] = &[
        (
            1,
            "c84197467f9b16a96b27be734be1751f54b5f878a2d83dc484490f8cfd3f4a3b",
            "788e0851a2e5e83a900fa49ef29ac5faae7e94328a45c5830e2d264888c69c8b",
        ),
        (
            128,
            "f6eb5c671a829de3d2cdf19a61af72f1effda50978c545da972e6f28bd6fabee",
            "6890f369c872655cd6005f74163ef75016f5401b296c1a179dca382e8a0aaf30",
        ),
        (
            129,
            "2a32965729bb3cc1b50e715d2bcf21f5db9353bef5a81e8ea5c101e7894feb64",
            "b621ae32559ed97d16d45c6ee998080cd3e1aa239fc9a9e0a0d9ced807873acc",
        ),
        (
            16385,
            "c414a4f78cc00a8ea796dd27916f32ea60ae141433cbd93d34d53e89c9c53ee4",
            "ed9615f50767c4b278ed92eee50b08f243304c0d96492923bd31349b1d5c40c3",
        ),
    ];

    #[test]
    fn the_tree_is_that_of_veritysetup() {
        // Golden values of veritysetup 2.6.1:
        // veritysetup format data tree --salt $(printf 'ab%.0s' {1..32}) --uuid 00112233-4455-6677-8899-aabbccddeeff
        let uuid: Uuid = "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap();
        for (count, root, tree_digest) in GOLDEN {
            let verity = format_with(&blocks(*count), &[0xab; 32], uuid);
            assert_eq!(verity.root_hex(), *root, "{count} blocks");
            assert_eq!(
                hex::encode(Sha256::digest(&verity.tree)),
                *tree_digest,
                "{count} blocks"
            );
        }
    }

    #[test]
    fn veritysetup_itself_agrees_where_it_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        let (data, tree) = (folder.path().join("data"), folder.path().join("tree"));
        let verity = format(&blocks(129));
        std::fs::write(&data, blocks(129)).unwrap();
        std::fs::write(&tree, &verity.tree).unwrap();
        let veritysetup = ["/usr/sbin/veritysetup", "/sbin/veritysetup"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists());
        let Some(veritysetup) = veritysetup else {
            qemu_tests::runner::skip("veritysetup is not installed");
            return;
        };
        let output = Command::new(veritysetup)
            .arg("verify")
            .args([&data, &tree])
            .arg(verity.root_hex())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    #[test]
    fn the_same_data_gives_the_same_tree_and_one_bit_gives_another() {
        let mut data = blocks(3);
        let first = format(&data);
        assert_eq!(format(&data), first);
        data[5000] ^= 1;
        assert_ne!(format(&data).root, first.root);
    }
}
