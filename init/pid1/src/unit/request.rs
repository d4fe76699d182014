//! Requests of the control socket, carried out.

use std::collections::BTreeSet;

use spec_unit::control::{
    MAX_PACKET, MAX_TEXT_IN_LIST, Reply, Request, ShutdownAction, UnitStatus,
};
use spec_unit::directive::dependency::Relation;
use spec_unit::graph::{JobKind, UnitId};
use spec_unit::name::{UnitName, UnitType};

use super::state::{Outcome, Phase, UnitState};
use super::supervise::{Host as _, Timer};
use super::supervisor::Supervisor;
use crate::protocol::Asked;

/// Most bytes of the units told at a time; what is around them takes less than the rest of a packet.
const PAGE_BYTES: usize = MAX_PACKET - 1024;
/// The last real-time signal (signal(7)).
const SIGNALS: i32 = 64;

impl Supervisor {
    /// Serves a client of the control socket.
    pub(super) fn serve(&mut self, number: u32) {
        let Some(control) = &mut self.control else {
            return;
        };
        let Some(asked) = control.serve(&self.host.events, number) else {
            return;
        };
        let (client, id) = (asked.client, asked.id);
        let reply = match &asked.request {
            Request::Wait { unit } => match self.wait(client, id, unit) {
                Ok(()) => return,
                Err(message) => Reply::Error(message),
            },
            Request::Watch => {
                control.watch(client);
                Reply::Ok
            }
            _ => self.answer(asked),
        };
        if let Some(control) = &mut self.control {
            control.answer(&self.host.events, client, id, reply);
        }
    }

    /// Tells watchers how a unit stands.
    pub(super) fn announce(&mut self, id: UnitId) {
        let Some(status) = self.status(id) else {
            return;
        };
        if let Some(control) = &mut self.control {
            control.announce(&self.host.events, &Reply::Changed(status));
        }
    }

    pub(super) fn answer(&mut self, mut asked: Asked) -> Reply {
        if !matches!(asked.request, Request::Run { .. }) {
            self.close(std::mem::take(&mut asked.fds));
        }
        let done = match asked.request {
            Request::List { offset } => return self.list(offset),
            Request::Show { unit } => return self.show(&unit),
            Request::Start { unit } => self.by_hand(&unit, JobKind::Start),
            Request::Stop { unit } => self.by_hand(&unit, JobKind::Stop),
            Request::Restart { unit } => self.by_hand(&unit, JobKind::Restart),
            Request::Reload { unit } => self.reload(&unit),
            Request::ResetFailed { unit } => self.reset_failed(&unit),
            Request::Kill { unit, signal } => self.kill(&unit, signal),
            // These concern a connection: serve() has them.
            Request::Watch | Request::Wait { .. } => Ok(()),
            Request::Shutdown { action } => {
                self.begin_shutdown(action);
                Ok(())
            }
            Request::Run { unit, plan } => self.run_transient(asked.uid, &unit, *plan, asked.fds),
            Request::Collect { unit } => return self.collect(asked.uid, &unit),
            Request::Devices {
                telling,
                devices,
                gone,
            } => self.hear_devices(telling, devices, &gone),
            Request::Reexecute => {
                self.reexecute = true;
                Ok(())
            }
            Request::Crash => self.crash(),
        };
        match done {
            Ok(()) => Reply::Ok,
            Err(message) => Reply::Error(message),
        }
    }

    /// A fault on purpose, for tests.
    fn crash(&self) -> Result<(), String> {
        if self.allows_faults() {
            crate::emergency!("crashes, because it was asked to");
            std::process::abort();
        }
        Err("this node was not started with bedplate.fault=crash on its kernel command line".into())
    }

    fn list(&self, offset: usize) -> Reply {
        let mut all: Vec<(&str, UnitId)> = self
            .graph
            .units()
            .map(|(id, unit)| (unit.name.as_str(), id))
            .collect();
        all.sort_unstable();
        let statuses = all.iter().skip(offset);
        let units = page(statuses.filter_map(|(_, id)| self.status(*id)));
        let end = offset.saturating_add(units.len());
        Reply::Units {
            units,
            next: (end < all.len()).then_some(end),
        }
    }

    pub(super) fn known(&self, name: &str) -> Result<UnitId, String> {
        self.graph
            .id(name)
            .ok_or_else(|| format!("{name} is not loaded; start it, or ask for the list"))
    }

    fn show(&self, name: &str) -> Reply {
        match self.known(name).and_then(|id| {
            self.status(id)
                .ok_or_else(|| format!("{name} has no state"))
        }) {
            Ok(status) => Reply::Unit(status),
            Err(message) => Reply::Error(message),
        }
    }

    /// A request by hand: the unit may refuse it, and what it loaded in vain is not kept.
    fn by_hand(&mut self, name: &str, kind: JobKind) -> Result<(), String> {
        UnitName::parse(name)?;
        let allowed = self.allows_by_hand(name, kind);
        let done = allowed.and_then(|()| self.request(name, kind));
        self.forget_unneeded();
        done
    }

    /// RefuseManualStart= and RefuseManualStop=, which only the unit's file tells.
    fn allows_by_hand(&mut self, name: &str, kind: JobKind) -> Result<(), String> {
        if kind == JobKind::Start && ShutdownAction::of_target(name).is_some() {
            // A shutdown needs no unit file.
            return Ok(());
        }
        let id = self.load(name)?;
        let unit = self.graph.unit(id).ok_or("no such unit")?;
        if let Some(message) = unit.load_error() {
            return Err(message);
        }
        let dependencies = &unit.dependencies;
        if kind != JobKind::Stop && dependencies.refuse_manual_start {
            return Err(format!(
                "{name} is not to be started by hand (RefuseManualStart=)"
            ));
        }
        if kind.stops() && unit.kind == UnitType::Device {
            return Err(format!(
                "{name} is a device: it stays as long as it is there"
            ));
        }
        if kind.stops() && unit.is_perpetual() {
            return Err(format!("{name} is always there and cannot be stopped"));
        }
        if kind.stops() && dependencies.refuse_manual_stop {
            return Err(format!(
                "{name} is not to be stopped by hand (RefuseManualStop=)"
            ));
        }
        Ok(())
    }

    /// Forgets units that nobody names and that do nothing: whoever asks for many must not fill the graph.
    fn forget_unneeded(&mut self) {
        let unused = |state: &UnitState| {
            state.phase == Phase::Dead && state.cgroup.is_none() && state.plan.is_none()
        };
        let idle = |id| {
            self.jobs.get(id).is_none()
                && self.states.get(id).is_none_or(unused)
                && self.host.stores.of(id).is_empty()
        };
        for id in self.graph.forget_unneeded(idle) {
            self.forget_state(id);
        }
    }

    pub(super) fn forget_state(&mut self, id: UnitId) {
        self.host.forget(id);
        let left = self.host.stores.release(&self.host.events, id);
        self.close(left);
        // Its place may be another unit's next.
        for timer in Timer::ALL {
            self.host.arm(id, timer, None);
        }
        if let Some(state) = self.states.get_mut(id) {
            *state = UnitState::default();
        }
    }

    fn reload(&mut self, name: &str) -> Result<(), String> {
        let id = self.known(name)?;
        self.with_machine(id, |machine| machine.reload())
            .ok_or("has no state")??;
        self.propagate_reload(id);
        Ok(())
    }

    /// PropagatesReloadTo= and ReloadPropagatedFrom=: whoever is up reloads too.
    pub(super) fn propagate_reload(&mut self, id: UnitId) {
        let named = self.graph.on(id, Relation::PropagatesReloadTo);
        let naming = self.graph.dependents(id, Relation::ReloadPropagatedFrom);
        let up = |id: &UnitId| {
            self.states
                .get(*id)
                .is_some_and(|state| state.phase.is_up())
        };
        let others: BTreeSet<UnitId> = named.chain(naming).filter(up).collect();
        for other in others {
            if let Some(Err(message)) = self.with_machine(other, |machine| machine.reload()) {
                crate::warning!("{message}");
            }
        }
    }

    fn reset_failed(&mut self, name: &str) -> Result<(), String> {
        let id = self.known(name)?;
        let changed = self.with_machine(id, |machine| {
            machine.state.starts_us.clear();
            (machine.state.restarts, machine.state.crashes) = (0, 0);
            if machine.state.phase == Phase::Failed {
                machine.state.phase = Phase::Dead;
                machine.state.result = Outcome::Success;
                machine.state.reason = None;
            }
        });
        changed.ok_or_else(|| format!("{name} has no state"))
    }

    /// Sends a signal to every process of a unit; what follows is as if it had come from anywhere.
    fn kill(&mut self, name: &str, signal: i32) -> Result<(), String> {
        let id = self.known(name)?;
        if !(1..=SIGNALS).contains(&signal) {
            return Err(format!("{signal} is no signal; they are 1 to {SIGNALS}"));
        }
        let unit = self.graph.unit(id);
        if unit.is_some_and(|unit| unit.dependencies.refuse_manual_stop) {
            return Err(format!(
                "{name} is not to be signalled by hand (RefuseManualStop=)"
            ));
        }
        let group = self.states.get(id).and_then(|state| state.cgroup.clone());
        match group.map(|group| self.host.signal_group(&group, signal)) {
            Some(reached) if reached > 0 => Ok(()),
            _ => Err(format!("{name} has no processes")),
        }
    }
}

/// As many units as one packet holds; one at least.
fn page(statuses: impl Iterator<Item = UnitStatus>) -> Vec<UnitStatus> {
    let mut units = Vec::new();
    let mut bytes = 0;
    for status in statuses.map(|status| status.cut(MAX_TEXT_IN_LIST)) {
        // And a comma.
        bytes += serde_json::to_vec(&status).map_or(0, |text| text.len() + 1);
        if bytes > PAGE_BYTES && !units.is_empty() {
            break;
        }
        units.push(status);
    }
    units
}

#[cfg(test)]
mod tests {
    use spec_unit::control::{Answer, VERSION};

    use super::*;

    #[test]
    fn a_page_fits_into_a_packet_whatever_the_units_say() {
        // A control character takes six bytes in JSON.
        let status = UnitStatus {
            name: "a.service".into(),
            description: "\u{1}".repeat(5000),
            reason: Some("é".repeat(5000)),
            ..UnitStatus::default()
        };
        let units = page(std::iter::repeat_n(status, 1000));
        assert!((20..1000).contains(&units.len()), "{}", units.len());
        let answer = Answer {
            version: VERSION,
            id: u64::MAX,
            reply: Reply::Units {
                units,
                next: Some(usize::MAX),
            },
        };
        assert!(serde_json::to_vec(&answer).unwrap().len() <= MAX_PACKET);
    }
}
