//! Devices as the device service tells PID 1 of them, and the units that stand for them, systemd.device(5).

use serde::{Deserialize, Serialize};

use crate::name::{UnitType, of_path};

/// Most devices that PID 1 keeps.
pub const MAX_DEVICES: usize = 2048;
/// Most names of one device.
pub const MAX_NAMES: usize = 32;
/// Longest path.
pub const MAX_PATH: usize = 1024;

/// A device that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Below /sys, with a leading slash: `/devices/...`.
    pub path: String,
    /// Other paths it is known by: its node and links below /dev, and of a link `/sys/subsystem/net/devices/NAME`.
    pub names: Vec<String>,
}

/// What a request of the device service is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Telling {
    /// Something has changed.
    Changes,
    /// All devices are told anew, beginning with these.
    Begin,
    /// All devices were told: one that was not is gone.
    End,
}

impl Device {
    /// Refuses what is no device.
    pub fn check(&self) -> Result<(), String> {
        let fine = |path: &str, parents: &[&str]| {
            path.len() <= MAX_PATH
                && !path.contains(['\0', '\n'])
                && !path.split('/').any(|part| part == "..")
                && parents.iter().any(|parent| path.starts_with(parent))
        };
        if !fine(&self.path, &["/devices/"]) {
            return Err(format!(
                "devices.path: {:?} is not below /devices/",
                self.path
            ));
        }
        if self.names.len() > MAX_NAMES {
            return Err(format!("devices.names: more than {MAX_NAMES}"));
        }
        let odd = self
            .names
            .iter()
            .find(|name| !fine(name, &["/dev/", "/sys/"]));
        match odd {
            Some(name) => Err(format!(
                "devices.names: {name:?} is not below /dev/ or /sys/"
            )),
            None => Ok(()),
        }
    }

    /// Its units.
    pub fn units(&self) -> impl Iterator<Item = String> + '_ {
        let own = of_path(&format!("/sys{}", self.path), UnitType::Device);
        let names = self.names.iter();
        own.into_iter()
            .chain(names.filter_map(|name| of_path(name, UnitType::Device)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_unit_for_each_of_its_paths() {
        let disk = Device {
            path: "/devices/virtio1/block/vda".into(),
            names: vec!["/dev/vda".into(), "/dev/disk/by-label/a-b".into()],
        };
        assert_eq!(disk.check(), Ok(()));
        let units: Vec<String> = disk.units().collect();
        let expected = [
            "sys-devices-virtio1-block-vda.device",
            "dev-vda.device",
            "dev-disk-by\\x2dlabel-a\\x2db.device",
        ];
        assert_eq!(units, expected);
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let of = |path: &str, name: &str| Device {
            path: path.into(),
            names: vec![name.into()],
        };
        for device in [
            of("/etc/passwd", "/dev/a"),
            of("/devices/../x", "/dev/a"),
            of("/devices/x", "/etc/a"),
            of("/devices/x", "/dev/../etc"),
            of(&format!("/devices/{}", "a".repeat(MAX_PATH)), "/dev/a"),
        ] {
            assert!(device.check().is_err(), "{device:?}");
        }
        let mut crowd = of("/devices/x", "/dev/a");
        crowd.names = vec!["/dev/a".into(); MAX_NAMES + 1];
        assert!(crowd.check().is_err());
    }
}
