//! What the kernel says of a device: a uevent message, or the same lines in a device's `uevent` file
//! (Documentation/ABI/testing/sysfs-uevent, lib/kobject_uevent.c).

use std::collections::BTreeMap;

/// Largest message: the kernel's buffer is 2 KiB, and the header.
pub(crate) const MESSAGE_MAX: usize = 8 * 1024;
/// Most properties of one message; the kernel has 64.
const PROPERTIES_MAX: usize = 128;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It came, or was there at start.
    Add,
    /// Something of it changed.
    Change,
    /// It went.
    Remove,
    /// Another event (bind, unbind, move, online, offline).
    Other,
}

/// A device and what happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// What happened.
    pub action: Action,
    /// Path below /sys, with a leading slash.
    pub path: String,
    /// `SUBSYSTEM`.
    pub subsystem: String,
    /// All properties.
    pub properties: BTreeMap<String, String>,
}

impl Device {
    /// Reads a message, `None` where it is none of the kernel's form.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let message = message.get(..MESSAGE_MAX).unwrap_or(message);
        let mut parts = message.split(|byte| *byte == 0).map(std::str::from_utf8);
        let (action, path) = parts.next()?.ok()?.split_once('@')?;
        if !is_device_path(path) {
            return None;
        }
        let properties = properties(parts.map_while(Result::ok));
        Some(Self {
            action: match action {
                "add" => Action::Add,
                "change" => Action::Change,
                "remove" => Action::Remove,
                _ => Action::Other,
            },
            path: path.to_string(),
            subsystem: properties.get("SUBSYSTEM").cloned().unwrap_or_default(),
            properties,
        })
    }

    /// A device found at start: its path, its subsystem and the text of its `uevent` file.
    pub(crate) fn present(path: &str, subsystem: String, uevent: &str) -> Option<Self> {
        is_device_path(path).then(|| Self {
            action: Action::Add,
            path: path.to_string(),
            subsystem,
            properties: properties(uevent.lines()),
        })
    }

    /// A property.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    /// Name of its node below /dev, where it has one.
    pub(crate) fn node(&self) -> Option<&str> {
        let name = self.get("DEVNAME")?;
        let name = name.strip_prefix("/dev/").unwrap_or(name);
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        name.split('/').all(plain).then_some(name)
    }

    /// Last part of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Its folder in /sys.
    pub(crate) fn folder(&self) -> std::path::PathBuf {
        format!("/sys{}", self.path).into()
    }
}

fn is_device_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() < 1024
        && !path.split('/').any(|part| matches!(part, "." | ".."))
}

fn properties<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    lines
        .filter_map(|line| line.split_once('='))
        .take(PROPERTIES_MAX)
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From a captured hot plug of a virtio disk.
    const PARTITION: &[u8] = b"add@/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda1\0ACTION=add\0\
        DEVPATH=/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda1\0SUBSYSTEM=block\0MAJOR=254\0MINOR=1\0\
        DEVNAME=vda1\0DEVTYPE=partition\0DISKSEQ=9\0PARTN=1\0PARTNAME=esp\0SEQNUM=1182\0";

    #[test]
    fn a_captured_event_is_read() {
        let device = Device::parse(PARTITION).unwrap();
        assert_eq!(
            (device.action, device.subsystem.as_str()),
            (Action::Add, "block")
        );
        assert_eq!(
            (device.node(), device.get("PARTN")),
            (Some("vda1"), Some("1"))
        );
        assert_eq!(device.name(), "vda1");
    }

    #[test]
    fn a_message_of_udev_is_none_of_the_kernel() {
        assert_eq!(Device::parse(b"libudev\0\xfe\xed\xca\xfe"), None);
    }

    #[test]
    fn a_path_or_node_cannot_lead_elsewhere() {
        assert_eq!(Device::parse(b"add@/devices/../../etc\0"), None);
        let device = Device::parse(b"add@/devices/x\0DEVNAME=../etc/passwd\0").unwrap();
        assert_eq!(device.node(), None);
        let device = Device::parse(b"add@/devices/x\0DEVNAME=/dev/input/event3\0").unwrap();
        assert_eq!(device.node(), Some("input/event3"));
    }

    #[test]
    fn the_file_of_a_device_that_is_there_says_the_same() {
        let device = Device::present(
            "/devices/x/vda",
            "block".into(),
            "MAJOR=254\nMINOR=0\nDEVNAME=vda\n",
        )
        .unwrap();
        assert_eq!((device.action, device.node()), (Action::Add, Some("vda")));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(bytes: Vec<u8>) {
            if let Some(device) = Device::parse(&bytes) {
                let _ = (device.node(), device.name());
            }
        }

        #[test]
        fn no_header_makes_it_panic(text in "add@[/.a]{0,20}\0([A-Z]{1,4}=[./a]{0,9}\0){0,4}") {
            if let Some(device) = Device::parse(text.as_bytes()) {
                prop_assert!(!device.path.contains("/../"));
            }
        }
    }
}
