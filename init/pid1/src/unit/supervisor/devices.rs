//! Device units: up while their device is there. A job to start one waits for it; nobody here can do more.

use spec_unit::device::{Device, Telling};
use spec_unit::graph::UnitId;
use spec_unit::name::UnitType;

use super::super::state::{Outcome, Phase};
use super::super::supervise::Host as _;
use super::Supervisor;

/// How long a job waits for a device, unless its unit says otherwise: systemd's DefaultDeviceTimeoutSec=.
pub(super) const TIMEOUT_US: u64 = 90_000_000;

impl Supervisor {
    /// Takes in what the device service says, and draws what follows for the units.
    pub(in super::super) fn hear_devices(
        &mut self,
        telling: Telling,
        devices: Vec<Device>,
        gone: &[String],
    ) -> Result<(), String> {
        self.host.devices.hear(telling, devices, gone)?;
        self.devices_changed();
        Ok(())
    }

    fn devices_changed(&mut self) {
        let changed: Vec<(UnitId, bool)> = self
            .graph
            .units()
            .filter(|(_, unit)| unit.kind == UnitType::Device)
            .map(|(id, unit)| (id, self.host.devices.has(&unit.name)))
            .filter(|(id, there)| (self.phase(*id) == Phase::Plugged) != *there)
            .collect();
        for (id, there) in changed {
            self.plug(id, there);
        }
    }

    fn plug(&mut self, id: UnitId, there: bool) {
        self.with_machine(id, |machine| {
            let state = &mut *machine.state;
            state.phase = if there { Phase::Plugged } else { Phase::Dead };
            (state.result, state.reason) = (Outcome::Success, None);
        });
    }

    /// Device units that were loaded just now are what the table says.
    pub(super) fn see_new_devices(&mut self) {
        let now = self.host.now_us();
        for (id, unit) in self.graph.units() {
            let Some(state) = self
                .states
                .get_mut(id)
                .filter(|_| unit.kind == UnitType::Device)
            else {
                continue;
            };
            if state.phase == Phase::Dead && self.host.devices.has(&unit.name) {
                (state.phase, state.since_us) = (Phase::Plugged, now);
                self.host.touched.insert(id);
            }
        }
    }

    /// The job of a device unit that is not there waits.
    pub(super) fn start_device(&mut self, id: UnitId) {
        let unit = self.graph.unit(id);
        if unit.is_some_and(|unit| self.host.devices.has(&unit.name)) {
            self.plug(id, true);
        }
    }
}
