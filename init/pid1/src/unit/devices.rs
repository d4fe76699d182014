//! The devices that are there, as the device service tells.
//!
//! It tells all when it starts, and changes from then on. While it restarts the devices stay; what it then does not tell
//! again is gone.

use std::collections::{BTreeMap, BTreeSet};

use spec_unit::device::{Device, MAX_DEVICES, Telling};

/// The table of devices.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    /// By path below /sys; and whether they were told since the last beginning.
    known: BTreeMap<String, (Device, bool)>,
    /// Units of all of them.
    units: BTreeSet<String>,
    /// Counts changes, for the mirror.
    pub(super) version: u64,
}

impl Devices {
    /// The devices of another image of PID 1.
    pub(super) fn resume(devices: Vec<Device>) -> Self {
        let mut table = Self::default();
        for device in devices {
            table.known.insert(device.path.clone(), (device, true));
        }
        table.settle();
        table
    }

    /// Whether the device of a unit is there.
    pub(super) fn has(&self, unit: &str) -> bool {
        self.units.contains(unit)
    }

    /// All devices.
    pub(super) fn all(&self) -> Vec<&Device> {
        self.known.values().map(|(device, _)| device).collect()
    }

    /// Takes in what the device service says. A refused message changes nothing.
    pub(super) fn hear(
        &mut self,
        telling: Telling,
        devices: Vec<Device>,
        gone: &[String],
    ) -> Result<(), String> {
        devices.iter().try_for_each(Device::check)?;
        let new = devices
            .iter()
            .filter(|device| !self.known.contains_key(&device.path));
        if self.known.len() + new.count() > MAX_DEVICES {
            return Err(format!("devices: more than {MAX_DEVICES}"));
        }
        if telling == Telling::Begin {
            self.known.values_mut().for_each(|(_, told)| *told = false);
        }
        for path in gone {
            self.known.remove(path);
        }
        for device in devices {
            self.known.insert(device.path.clone(), (device, true));
        }
        if telling == Telling::End {
            self.known.retain(|_, (_, told)| *told);
        }
        self.settle();
        Ok(())
    }

    fn settle(&mut self) {
        let devices = self.known.values();
        self.units = devices.flat_map(|(device, _)| device.units()).collect();
        self.version += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str) -> Device {
        Device {
            path: format!("/devices/block/{name}"),
            names: vec![format!("/dev/{name}")],
        }
    }

    #[test]
    fn what_is_not_told_again_is_gone() {
        let mut devices = Devices::default();
        devices
            .hear(Telling::Begin, vec![disk("vda"), disk("vdb")], &[])
            .unwrap();
        devices.hear(Telling::End, vec![], &[]).unwrap();
        assert!(devices.has("dev-vda.device") && devices.has("sys-devices-block-vdb.device"));
        devices
            .hear(Telling::Begin, vec![disk("vda")], &[])
            .unwrap();
        assert!(devices.has("dev-vdb.device"), "it may be told yet");
        devices.hear(Telling::End, vec![disk("vdc")], &[]).unwrap();
        assert!(!devices.has("dev-vdb.device") && devices.has("dev-vdc.device"));
        let path = disk("vda").path;
        devices.hear(Telling::Changes, vec![], &[path]).unwrap();
        assert!(!devices.has("dev-vda.device"));
        let all = devices.all().into_iter().cloned().collect();
        assert!(Devices::resume(all).has("dev-vdc.device"));
    }

    #[test]
    fn a_refused_message_changes_nothing() {
        let mut devices = Devices::default();
        devices
            .hear(Telling::Changes, vec![disk("vda")], &[])
            .unwrap();
        let odd = Device {
            path: "/etc".into(),
            names: vec![],
        };
        assert!(
            devices
                .hear(Telling::Begin, vec![disk("vdb"), odd], &[])
                .is_err()
        );
        assert!(devices.has("dev-vda.device") && !devices.has("dev-vdb.device"));
        let crowd = (0..MAX_DEVICES)
            .map(|number| disk(&format!("x{number}")))
            .collect();
        assert!(devices.hear(Telling::Changes, crowd, &[]).is_err());
    }
}
