//! dm-verity over the root, by the device mapper's own ioctls.
//!
//! The table says restart_on_corruption: a block that does not hash to what the root hash promises restarts the
//! machine, at whatever time it is read.
//!
//! Source: Documentation/admin-guide/device-mapper/verity.rst, linux/dm-ioctl.h.

use std::fs::File;
use std::io::Read as _;
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use spec_layout::verity::{RootHash, SUPERBLOCK_BYTES, Superblock};

use super::Source;
use crate::error::{Error, Result, What};
use crate::sys::device_mapper::{HEADER, send};

/// Name of the device, as in /sys/block/dm-0/dm/name.
const NAME: &str = "root";
const CONTROL: &str = "/dev/mapper/control";

const DEV_CREATE: u8 = 3;
const DEV_REMOVE: u8 = 4;
const DEV_SUSPEND: u8 = 6;
const TABLE_LOAD: u8 = 9;
const TABLE_STATUS: u8 = 12;

const READ_ONLY: u32 = 1;
const STATUS_TABLE: u32 = 1 << 4;
const DEFERRED_REMOVE: u32 = 1 << 17;

/// What becomes of a block that does not hash to what the root hash promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnCorruption {
    /// The machine restarts.
    Restart,
    /// Reading it fails.
    Fail,
}

/// Sets the device of the root up and gives its node.
pub(crate) fn open(hash: &RootHash, source: &Source) -> Result<PathBuf> {
    open_as(NAME, hash, source, OnCorruption::Restart)
}

/// Has the kernel remove a device once nobody has it open.
pub(crate) fn remove_when_unused(name: &str) -> Result<()> {
    let control = open_control()?;
    Message::new(name, DEFERRED_REMOVE, 0)
        .send(&control, DEV_REMOVE)
        .map_err(Error::at(What::Verity, "removing the device"))
}

fn open_control() -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .open(CONTROL)
        .map_err(Error::at(What::Verity, CONTROL))
}

/// Sets a device up under a name and gives its node. Where that fails nothing is left of it.
pub(crate) fn open_as(
    name: &str,
    hash: &RootHash,
    source: &Source,
    on_corruption: OnCorruption,
) -> Result<PathBuf> {
    let superblock =
        read_superblock(&source.tree).map_err(Error::at(What::Verity, source.tree.display()))?;
    let control = open_control()?;
    let failed = |step| Error::at(What::Verity, step);

    let mut create = Message::new(name, READ_ONLY, 0);
    create
        .send(&control, DEV_CREATE)
        .map_err(failed("creating the device"))?;
    let node = PathBuf::from(format!("/dev/dm-{}", rustix::fs::minor(create.device())));

    let sectors = superblock
        .data_blocks
        .saturating_mul(u64::from(superblock.data_block) / 512);
    let table = table(hash, source, &superblock, on_corruption);
    let mut load = Message::new(name, READ_ONLY, 1).with_target(sectors, "verity", &table);
    let loaded = load.send(&control, TABLE_LOAD).map_err(failed(
        "loading the table (does the tree belong to this root?)",
    ));
    let resumed = loaded.and_then(|()| {
        Message::new(name, READ_ONLY, 0)
            .send(&control, DEV_SUSPEND)
            .map_err(failed("resuming the device"))
    });
    if resumed.is_err() {
        // What failed counts.
        let _ = remove_when_unused(name);
    }
    resumed.map(|()| node)
}

/// What the kernel says of the dm-verity device under the mounted root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// Root hash that every read is verified against.
    pub(crate) root_hash: String,
    /// `MAJOR:MINOR` of the device that holds the file system.
    pub(crate) data_device: String,
}

/// Asks the kernel; `None` if the root is not on a dm-verity device.
pub(crate) fn of_mounted_root() -> Option<Live> {
    let device = std::fs::metadata("/").ok()?.st_dev();
    let control = File::options().read(true).write(true).open(CONTROL).ok()?;
    let mut status = Message::new(NAME, STATUS_TABLE, 0)
        .with_room(4096)
        .by_device(device);
    status.send(&control, TABLE_STATUS).ok()?;
    status.live_verity()
}

fn read_superblock(tree: &Path) -> std::result::Result<Superblock, String> {
    let mut bytes = [0; SUPERBLOCK_BYTES];
    let mut file = File::open(tree).map_err(|cause| cause.to_string())?;
    file.read_exact(&mut bytes)
        .map_err(|cause| cause.to_string())?;
    Superblock::parse(&bytes)
}

/// The table's parameters; the superblock takes the first hash block, the tree follows it.
fn table(
    hash: &RootHash,
    source: &Source,
    superblock: &Superblock,
    on_corruption: OnCorruption,
) -> String {
    let more = match on_corruption {
        OnCorruption::Restart => " 1 restart_on_corruption",
        OnCorruption::Fail => "",
    };
    let salt: String = superblock
        .salt
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "1 {} {} {} {} {} 1 sha256 {hash} {}{more}",
        source.root.display(),
        source.tree.display(),
        superblock.data_block,
        superblock.hash_block,
        superblock.data_blocks,
        if salt.is_empty() { "-" } else { &salt },
    )
}

/// `struct dm_ioctl` and what follows it, as bytes.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(name: &str, flags: u32, targets: u32) -> Message {
        let mut message = Message {
            bytes: vec![0; HEADER],
        };
        message.put(0, &4u32.to_ne_bytes());
        message.put(16, &(HEADER as u32).to_ne_bytes());
        message.put(20, &targets.to_ne_bytes());
        message.put(28, &flags.to_ne_bytes());
        message.put(48, name.as_bytes());
        message
    }

    /// Names the device by its number instead of its name.
    fn by_device(mut self, device: u64) -> Message {
        self.put(48, &[0; NAME.len()]);
        let (major, minor) = (
            u64::from(rustix::fs::major(device)),
            u64::from(rustix::fs::minor(device)),
        );
        self.put(
            40,
            &(minor & 0xff | major << 8 | (minor & !0xff) << 12).to_ne_bytes(),
        );
        self
    }

    fn with_room(mut self, bytes: usize) -> Message {
        self.bytes.resize(HEADER + bytes, 0);
        self
    }

    /// Adds a `struct dm_target_spec` over the whole device and its parameters, padded to eight bytes.
    fn with_target(mut self, sectors: u64, kind: &str, parameters: &str) -> Message {
        let mut spec = [0; 40];
        spec.iter_mut()
            .skip(8)
            .zip(sectors.to_ne_bytes())
            .for_each(|(to, from)| *to = from);
        spec.iter_mut()
            .skip(24)
            .zip(kind.bytes())
            .for_each(|(to, from)| *to = from);
        self.bytes.extend_from_slice(&spec);
        self.bytes.extend_from_slice(parameters.as_bytes());
        self.bytes.push(0);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self
    }

    fn send(&mut self, control: &File, command: u8) -> std::io::Result<()> {
        let size = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.put(12, &size.to_ne_bytes());
        send(control, command, &mut self.bytes)
    }

    /// Number of the device, from the kernel's answer, in the encoding of stat(2).
    fn device(&self) -> u64 {
        let field = self
            .bytes
            .get(40..48)
            .and_then(|bytes| bytes.try_into().ok());
        field.map_or(0, u64::from_ne_bytes)
    }

    /// The table in the answer to a status request with `STATUS_TABLE`.
    fn live_verity(&self) -> Option<Live> {
        let start = self
            .bytes
            .get(16..20)?
            .try_into()
            .ok()
            .map(u32::from_ne_bytes)? as usize;
        let spec = self.bytes.get(start..start.checked_add(40)?)?;
        if spec.get(24..31)? != b"verity\0" {
            return None;
        }
        let parameters = self
            .bytes
            .get(start + 40..)?
            .split(|&byte| byte == 0)
            .next()?;
        let words: Vec<&str> = std::str::from_utf8(parameters).ok()?.split(' ').collect();
        Some(Live {
            data_device: (*words.get(1)?).to_owned(),
            root_hash: (*words.get(8)?).to_owned(),
        })
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        self.bytes
            .iter_mut()
            .skip(at)
            .zip(value)
            .for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(salt: Vec<u8>) -> Superblock {
        Superblock {
            data_block: 4096,
            hash_block: 4096,
            data_blocks: 100,
            salt,
        }
    }

    #[test]
    fn the_table_restarts_on_corruption() {
        let hash = RootHash::parse(&"ab".repeat(32)).unwrap();
        let source = Source {
            root: "/dev/vda2".into(),
            tree: "/dev/vda3".into(),
        };
        let expected = format!(
            "1 /dev/vda2 /dev/vda3 4096 4096 100 1 sha256 {hash} 0102 1 restart_on_corruption"
        );
        let restart = OnCorruption::Restart;
        let salted = table(&hash, &source, &superblock(vec![1, 2]), restart);
        assert_eq!(salted, expected);
        let plain = table(&hash, &source, &superblock(vec![]), restart);
        assert!(plain.contains(&format!("{hash} - 1 restart")), "{plain}");
        let image = table(&hash, &source, &superblock(vec![]), OnCorruption::Fail);
        assert!(image.ends_with(&format!("{hash} -")), "{image}");
    }

    #[test]
    fn a_message_is_laid_out_as_the_kernel_reads_it() {
        let message = Message::new(NAME, READ_ONLY, 1).with_target(800, "verity", "1 a b");
        assert_eq!(message.bytes.len(), HEADER + 40 + 8);
        assert_eq!(message.bytes[..4], 4u32.to_ne_bytes());
        assert_eq!(
            message.bytes[16..24],
            [&312u32.to_ne_bytes()[..], &1u32.to_ne_bytes()].concat()
        );
        assert_eq!(&message.bytes[48..53], b"root\0");
        assert_eq!(message.bytes[HEADER + 8..HEADER + 16], 800u64.to_ne_bytes());
        assert_eq!(&message.bytes[HEADER + 24..HEADER + 31], b"verity\0");
        assert_eq!(&message.bytes[HEADER + 40..], b"1 a b\0\0\0");
    }

    #[test]
    fn the_root_hash_is_read_back_from_the_live_table_only_of_verity() {
        let parameters = "1 252:2 252:3 4096 4096 100 1 sha256 abcd - 1 restart_on_corruption";
        let answer = |kind| {
            Message::new(NAME, 0, 1)
                .with_target(1, kind, parameters)
                .live_verity()
        };
        assert_eq!(
            answer("verity"),
            Some(Live {
                root_hash: "abcd".into(),
                data_device: "252:2".into()
            })
        );
        assert_eq!(answer("linear"), None);
        assert_eq!(Message::new(NAME, 0, 0).live_verity(), None);
    }
}
