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
/// Bytes kept before the state file system for a LUKS2 header.
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
