//! The EFI system partition: FAT32 with systemd-boot and one UKI.
//!
//! `EFI/BOOT/BOOT<ARCH>.EFI` is what firmware starts without any entry, `EFI/systemd/` what an entry of
//! `bootctl` would name, `EFI/Linux/NAME_VERSION+TRIES.efi` what systemd-boot lists and counts
//! (systemd.io/AUTOMATIC_BOOT_ASSESSMENT).

use hadris_fat::sync::write;
use hadris_fat::{FatKind, FatOptions, VolumeLabel};
use hadris_fs::{Content, DateTime, NoClock, Node, SetAttr, Tree};
use hadris_io::ErrorType;
use hadris_storage::sync::BlockDevice;
use hadris_storage::{BlockIndex, BlockSize};

use crate::Error;
use crate::guid;
use crate::sparse::Sparse;

/// Boots that a new image gets before the loader gives it up.
pub(crate) const TRIES: u32 = 3;

/// What stands on the ESP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Esp<'a> {
    /// systemd-boot.
    pub(crate) loader: &'a [u8],
    /// Architecture part of its names: `x64`, `aa64`.
    pub(crate) efi_architecture: &'a str,
    /// The unified kernel image.
    pub(crate) uki: &'a [u8],
    /// Its name without `.efi`: `NAME_VERSION`.
    pub(crate) uki_name: &'a str,
    /// Bytes of the partition.
    pub(crate) bytes: u64,
    /// Its offset on the disk.
    pub(crate) offset: u64,
    /// Seconds since 1970 of every file.
    pub(crate) epoch: i64,
    /// What the volume's serial follows from.
    pub(crate) seed: &'a [u8],
}

/// Configuration of systemd-boot: no menu unless a key is held, and nobody edits the verified command line.
const LOADER_CONF: &str = "timeout 0\neditor no\nauto-entries no\nauto-firmware no\n";

/// Formats and fills the partition.
pub(crate) fn format(esp: &Esp<'_>) -> Result<Sparse, Error> {
    let architecture = esp.efi_architecture;
    let files: [(String, &[u8]); 5] = [
        (
            format!("EFI/BOOT/BOOT{}.EFI", architecture.to_uppercase()),
            esp.loader,
        ),
        (
            format!("EFI/systemd/systemd-boot{architecture}.efi"),
            esp.loader,
        ),
        (format!("EFI/Linux/{}+{TRIES}.efi", esp.uki_name), esp.uki),
        ("loader/loader.conf".into(), LOADER_CONF.as_bytes()),
        // bootctl's mark that EFI/Linux and loader/entries are laid out by type 2 rules.
        ("loader/entries.srel".into(), b"type1\n"),
    ];
    let used: usize = files.iter().map(|(_, content)| content.len()).sum();
    if used as u64 * 3 > esp.bytes {
        return Err(Error::Input(format!(
            "the ESP of {} MiB cannot hold three kernels of {} MiB: leave out kernel modules or overlays",
            esp.bytes >> 20,
            used >> 20
        )));
    }

    let time = DateTime::from_unix_seconds(esp.epoch.max(DOS_EPOCH)).unwrap_or(NoClock::TIME);
    let attributes = SetAttr::new()
        .with_modified(time)
        .with_created(time)
        .with_accessed(time);
    let mut tree = Tree::new();
    for (path, content) in &files {
        for (at, _) in path.match_indices('/') {
            if tree.get(&path[..at]).is_none() {
                tree.insert(&path[..at], Node::dir().with_attrs(attributes))
                    .map_err(refused)?;
            }
        }
        tree.insert(
            path,
            Node::file(Content::bytes(*content)).with_attrs(attributes),
        )
        .map_err(refused)?;
    }

    let serial = guid::named("esp", esp.seed).to_bytes();
    let options = FatOptions::new()
        .with_kind(FatKind::Fat32)
        .with_label(VolumeLabel::new("ESP").map_err(|kind| refused(format!("{kind:?}")))?)
        .with_oem_name(*b"mkfs.fat")
        .with_cluster_size(4096)
        .with_partition_offset(esp.offset)
        .with_time(time)
        .with_serial(u32::from_be_bytes([
            serial[0], serial[1], serial[2], serial[3],
        ]));
    let mut disk = Disk(Sparse::new(esp.bytes));
    write(&mut disk, &tree, &options).map_err(refused)?;
    Ok(disk.0)
}

/// 1980-01-01: FAT knows no earlier time.
const DOS_EPOCH: i64 = 315_532_800;
/// Bytes of a logical block.
const SECTOR: u32 = spec_layout::disk::SECTOR as u32;

/// A mistake of the FAT writer, or a name that FAT cannot hold.
fn refused(reason: impl std::fmt::Display) -> Error {
    Error::Input(format!("the ESP cannot be written: {reason}"))
}

/// [`Sparse`] as the FAT writer's device.
struct Disk(Sparse);

impl ErrorType for Disk {
    type Error = std::io::Error;
}

impl BlockDevice for Disk {
    fn block_size(&self) -> BlockSize {
        const { BlockSize::new(SECTOR).expect("a sector has bytes") }
    }

    fn block_count(&self) -> u64 {
        self.0.len() / u64::from(SECTOR)
    }

    fn writable(&self) -> bool {
        true
    }

    fn read_blocks(
        &mut self,
        first: BlockIndex,
        buffer: &mut [u8],
    ) -> Result<(), hadris_io::Error<std::io::Error>> {
        self.0
            .read_at(first.get() * u64::from(SECTOR), buffer)
            .map_err(|error| hadris_io::Error::device(error, "read"))
    }

    fn write_blocks(
        &mut self,
        first: BlockIndex,
        data: &[u8],
    ) -> Result<(), hadris_io::Error<std::io::Error>> {
        self.0
            .write_at(first.get() * u64::from(SECTOR), data)
            .map_err(|error| hadris_io::Error::device(error, "write"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Output;
    use std::process::Command;

    fn esp<'a>(uki: &'a [u8]) -> Esp<'a> {
        Esp {
            loader: b"MZ loader",
            efi_architecture: "x64",
            uki,
            uki_name: "node-cloud_0.1.0",
            bytes: 512 << 20,
            offset: 1 << 20,
            epoch: 1_760_000_000,
            seed: b"seed",
        }
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let uki = vec![7; 100_000];
        let first = format(&esp(&uki)).unwrap();
        assert_eq!(first.sha256(), format(&esp(&uki)).unwrap().sha256());
    }

    #[test]
    fn a_kernel_that_leaves_no_room_for_three_is_refused() {
        let uki = vec![7; 172 << 20];
        let message = format(&esp(&uki)).unwrap_err().to_string();
        assert!(message.contains("cannot hold three kernels"), "{message}");
    }

    #[test]
    fn fsck_and_mtools_read_it_where_they_are_installed() {
        let uki: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("esp");
        let mut output = Output::open(folder.path(), &crate::Quiet).unwrap();
        output
            .write_sparse("esp", &format(&esp(&uki)).unwrap())
            .unwrap();
        output.publish().unwrap();
        match Command::new("/usr/sbin/fsck.vfat")
            .arg("-n")
            .arg(&path)
            .output()
        {
            Ok(check) => assert!(
                check.status.success(),
                "{}",
                String::from_utf8_lossy(&check.stdout)
            ),
            Err(_) => qemu_tests::runner::skip("dosfstools is not installed"),
        }
        match Command::new("mcopy")
            .arg("-i")
            .arg(&path)
            .arg("::EFI/Linux/node-cloud_0.1.0+3.efi")
            .arg("-")
            .output()
        {
            Ok(copy) => assert!(
                copy.stdout == uki,
                "{}",
                String::from_utf8_lossy(&copy.stderr)
            ),
            Err(_) => qemu_tests::runner::skip("mtools is not installed"),
        }
    }
}
