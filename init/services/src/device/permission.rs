//! Mode and group of device nodes, as udev's own rules have them. What is not in the table keeps the kernel's.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use spec_layout::glob;

use crate::device::uevent::Device;

/// Largest /etc/group that is read.
const GROUP_FILE_MAX: u64 = 1 << 20;

/// Subsystem, node below /dev, mode, group. The first row that fits counts.
const TABLE: &[(&str, &str, u32, &str)] = &[
    ("tty", "ptmx", 0o666, "tty"),
    ("tty", "tty", 0o666, "tty"),
    ("tty", "tty[0-9]*", 0o620, "tty"),
    ("tty", "tty[A-Z]*", 0o660, "dialout"),
    ("tty", "hvc*", 0o660, "dialout"),
    ("vc", "vcs*", 0o660, "tty"),
    ("mem", "null", 0o666, "root"),
    ("mem", "zero", 0o666, "root"),
    ("mem", "full", 0o666, "root"),
    ("mem", "random", 0o666, "root"),
    ("mem", "urandom", 0o666, "root"),
    ("mem", "mem", 0o640, "kmem"),
    ("mem", "port", 0o640, "kmem"),
    ("input", "input/*", 0o660, "input"),
    ("block", "sr*", 0o660, "cdrom"),
    ("block", "*", 0o660, "disk"),
    ("scsi_generic", "sg*", 0o660, "disk"),
    ("bsg", "*", 0o660, "disk"),
    ("misc", "loop-control", 0o660, "disk"),
    ("misc", "btrfs-control", 0o660, "disk"),
    ("misc", "fuse", 0o666, "root"),
    ("misc", "net/tun", 0o666, "root"),
    ("misc", "kvm", 0o660, "kvm"),
    ("misc", "vhost-net", 0o660, "kvm"),
    ("misc", "vhost-vsock", 0o660, "kvm"),
    ("misc", "userfaultfd", 0o660, "kvm"),
    ("vsock", "vsock", 0o666, "root"),
    ("drm", "dri/card*", 0o660, "video"),
    ("drm", "dri/renderD*", 0o666, "render"),
    ("graphics", "fb*", 0o660, "video"),
    ("sound", "snd/*", 0o660, "audio"),
    ("video4linux", "*", 0o660, "video"),
    ("tpm", "tpm*", 0o660, "tss"),
    ("tpmrm", "tpmrm*", 0o660, "tss"),
    ("usb", "bus/usb/*", 0o664, "root"),
    ("printer", "*", 0o660, "lp"),
];

/// Group numbers by name.
pub(crate) struct Groups {
    numbers: BTreeMap<String, u32>,
}

impl Groups {
    /// Reads /etc/group: a static program has no NSS.
    pub(crate) fn read() -> Self {
        let path = Path::new("/etc/group");
        let small = std::fs::metadata(path).is_ok_and(|file| file.len() <= GROUP_FILE_MAX);
        let text = if small {
            std::fs::read_to_string(path).unwrap_or_default()
        } else {
            String::new()
        };
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let group = |line: &str| {
            let mut parts = line.split(':');
            Some((parts.next()?.to_string(), parts.nth(1)?.parse().ok()?))
        };
        Self {
            numbers: text.lines().filter_map(group).collect(),
        }
    }
}

/// Mode and group name for a device.
pub(crate) fn find(device: &Device) -> Option<(u32, &'static str)> {
    let node = device.node()?;
    let fits =
        |row: &&(&str, &str, u32, &str)| row.0 == device.subsystem && glob::matches(row.1, node);
    TABLE
        .iter()
        .find(fits)
        .map(|(_, _, mode, group)| (*mode, *group))
}

/// Gives the device's node its mode and group. A group that the image does not have leaves the node root's.
pub(crate) fn apply(device: &Device, groups: &Groups) {
    let (Some(node), Some((mode, group))) = (device.node(), find(device)) else {
        return;
    };
    let path = Path::new("/dev").join(node);
    let Ok(metadata) = std::fs::symlink_metadata(&path) else {
        return;
    };
    let kind = metadata.file_type();
    if !(kind.is_block_device() || kind.is_char_device()) || !is_number(device, metadata.rdev()) {
        return;
    }
    let gid = groups.numbers.get(group).copied();
    // Without the group its bits would be given to root's, which is nobody's: harmless and simple.
    let result = std::os::unix::fs::lchown(&path, Some(0), Some(gid.unwrap_or(0)))
        .and_then(|()| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)));
    if let Err(error) = result {
        log::warn!("{}: {error}", path.display());
    }
}

/// Whether the node is that of the device and not of one that came after it.
fn is_number(device: &Device, rdev: u64) -> bool {
    let number = |key| device.get(key).and_then(|text| text.parse::<u32>().ok());
    match (number("MAJOR"), number("MINOR")) {
        (Some(major), Some(minor)) => rustix::fs::makedev(major, minor) == rdev,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(subsystem: &str, node: &str) -> Device {
        Device::present(
            "/devices/x",
            subsystem.into(),
            &format!("DEVNAME={node}\nMAJOR=1\nMINOR=3\n"),
        )
        .unwrap()
    }

    #[test]
    fn the_first_row_that_fits_counts() {
        assert_eq!(find(&device("block", "sr0")), Some((0o660, "cdrom")));
        assert_eq!(find(&device("block", "nvme0n1p2")), Some((0o660, "disk")));
        assert_eq!(find(&device("tty", "tty1")), Some((0o620, "tty")));
        assert_eq!(find(&device("tty", "ttyS0")), Some((0o660, "dialout")));
        assert_eq!(find(&device("misc", "net/tun")), Some((0o666, "root")));
        assert_eq!(find(&device("watchdog", "watchdog0")), None);
    }

    #[test]
    fn groups_come_from_the_file() {
        let groups = Groups::parse("root:x:0:\ndisk:x:6:\nbroken\nworse:x:y:\n");
        assert_eq!(groups.numbers.get("disk"), Some(&6));
        assert_eq!(groups.numbers.len(), 2);
    }

    #[test]
    fn another_device_under_the_same_name_is_not_touched() {
        let null = std::fs::metadata("/dev/null").unwrap().rdev();
        assert!(is_number(&device("mem", "null"), null));
        assert!(!is_number(&device("mem", "null"), null + 1));
    }
}
