//! The disk: partitions by number, type and label.
//!
//! Types are those of the UAPI Discoverable Partitions Specification, or `linux-generic` with a label of ours.

/// Bytes of a logical sector that our tables are written for.
pub const SECTOR: u64 = 512;
/// Alignment of each partition in bytes.
pub const ALIGN: u64 = 1 << 20;
/// Bytes of the ESP: three UKIs.
pub const ESP_BYTES: u64 = 512 << 20;
/// Default bytes of a root slot.
pub const DEFAULT_SLOT_BYTES: u64 = 1 << 30;
/// Bytes of a verity-signature partition.
pub const SIGNATURE_BYTES: u64 = 1 << 20;
/// Bytes of the meta partition.
pub const META_BYTES: u64 = 16 << 20;
/// Bytes left free before the state partition for a LUKS2 header: when state is encrypted later, the partition's start
/// moves to the front of this gap and the file system keeps its place, at the header's data offset. Until then no
/// device-mapper layer stands between file system and disk.
pub const LUKS_HEADER_BYTES: u64 = 16 << 20;
/// Label of a slot that holds no image.
pub const EMPTY: &str = "_empty";
/// Label of the meta partition.
pub const META_LABEL: &str = "bedplate-meta";
/// Label of the state partition.
pub const STATE_LABEL: &str = "bedplate-state";
/// GPT type `linux-generic`.
pub const LINUX_GENERIC: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
/// GPT type of an EFI system partition.
pub const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";

/// GPT types of the root of one architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootTypes {
    /// The file system.
    pub root: &'static str,
    /// Its dm-verity tree.
    pub verity: &'static str,
    /// The signature of its root hash.
    pub signature: &'static str,
}

/// Root types of x86-64.
pub const ROOT_AMD64: RootTypes = RootTypes {
    root: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
    verity: "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
    signature: "41092b05-9fc8-4523-994f-2def0408b176",
};
/// Root types of arm64.
pub const ROOT_ARM64: RootTypes = RootTypes {
    root: "b921b045-1df0-41c3-af44-4c6f280d3fae",
    verity: "df3300ce-d69f-4c92-978c-9bfb0f38d820",
    signature: "6db69de6-29f4-4758-a7a5-962190f00ce3",
};

/// GPT attribute bit: grow the file system to the partition.
pub const GROW: u64 = 1 << 59;
/// GPT attribute bit: mount read-only.
pub const READ_ONLY: u64 = 1 << 60;
/// GPT attribute bit: do not mount by discovery.
pub const NO_AUTO: u64 = 1 << 63;

/// Bytes of the verity partition of a slot of `slot_bytes`: superblock and SHA-256 tree over 4096-byte blocks, aligned.
pub const fn verity_bytes(slot_bytes: u64) -> u64 {
    let mut blocks = slot_bytes.div_ceil(4096);
    let mut total = 1;
    while blocks > 1 {
        blocks = blocks.div_ceil(128);
        total += blocks;
    }
    (total * 4096).next_multiple_of(ALIGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_of_a_default_slot_takes_nine_mebibytes() {
        assert_eq!(verity_bytes(DEFAULT_SLOT_BYTES), 9 << 20);
        assert_eq!(verity_bytes(4096), ALIGN);
    }
}
