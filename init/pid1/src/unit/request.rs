//! Requests of the control socket, carried out.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use spec_unit::control::{
    MAX_PACKET, MAX_TEXT_IN_LIST, Reply, Request, ShutdownAction, UnitStatus,
};
use spec_unit::directive::dependency::Relation;
use spec_unit::directive::resource::slice_path;
use spec_unit::graph::{JobKind, UnitId};
use spec_unit::name::{UnitName, UnitType};
use spec_unit::plan::ExecPlan;
use spec_unit::unit::{LoadState, Unit};

use super::state::{Outcome, Phase, UnitState};
use super::supervise::{Host as _, Timer};
use super::supervisor::Supervisor;
use crate::protocol::Asked;

/// Most bytes of the units told at a time; what is around them takes less than the rest of a packet.
const PAGE_BYTES: usize = MAX_PACKET - 1024;
/// Where transient units may live; one that says nothing else lives in the first.
const SLICES: [&str; 2] = ["task.slice/", "system.slice/"];

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
        if asked.request == Request::Watch {
            control.watch(client);
        }
        let reply = self.answer(asked);
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

    pub(super) fn answer(&mut self, asked: Asked) -> Reply {
        let done = match asked.request {
            Request::List { offset } => return self.list(offset),
            Request::Show { unit } => return self.show(&unit),
            Request::Start { unit } => self.by_hand(&unit, JobKind::Start),
            Request::Stop { unit } => self.by_hand(&unit, JobKind::Stop),
            Request::Restart { unit } => self.by_hand(&unit, JobKind::Restart),
            Request::Reload { unit } => self.reload(&unit),
            Request::ResetFailed { unit } => self.reset_failed(&unit),
            Request::Kill { unit, signal } => self.kill(&unit, signal),
            Request::Watch => Ok(()),
            Request::Shutdown { action } => {
                self.begin_shutdown(action);
                Ok(())
            }
            Request::Run { unit, plan } => self.run_transient(&unit, *plan, asked.fds),
            Request::Collect { unit } => return self.collect(&unit),
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

    fn known(&self, name: &str) -> Result<UnitId, String> {
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
        self.host.stores.release(&self.host.events, id);
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

    /// Starts a unit that exists only as a plan.
    fn run_transient(
        &mut self,
        name: &str,
        mut plan: ExecPlan,
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let parsed = UnitName::parse(name)?;
        if parsed.kind != UnitType::Service || parsed.is_template() {
            return Err(format!("{name}: a transient unit is a service"));
        }
        let own = plan.cgroup.path.as_str();
        if !SLICES.iter().any(|slice| own.starts_with(slice)) {
            plan.cgroup.path = format!("{}{name}", SLICES[0]);
        }
        plan.check(fds.len())?;
        if self.graph.units().any(|(id, _)| {
            self.states.get(id).and_then(|s| s.cgroup.as_deref()) == Some(&plan.cgroup.path)
        }) {
            return Err(format!("cgroup.path: {} is in use", plan.cgroup.path));
        }
        if self.graph.id(name).is_none() && self.has_file(&parsed) {
            return Err(format!("{name} has a unit file; choose another name"));
        }
        let fds = fds
            .into_iter()
            .map(crate::sys::clone::lift)
            .collect::<Result<Vec<_>, _>>();
        let fds = fds.map_err(|cause| format!("file descriptors: {cause}"))?;
        let unit = self.transient_in(name, &plan.cgroup.path);
        let id = self.graph.insert(unit)?;
        self.make_room();
        if let Some(state) = self.states.get_mut(id) {
            *state = UnitState {
                plan: Some(Box::new(plan)),
                ..UnitState::default()
            };
        }
        self.host.handed.insert(id, fds);
        let begun = self.request(name, JobKind::Start);
        if begun.is_err() {
            self.forget_state(id);
            self.graph.forget(id);
        }
        begun
    }

    /// A unit that is only a plan, in the slice that its group is in, if that is one.
    pub(super) fn transient_in(&mut self, name: &str, group: &str) -> Unit {
        let mut unit = transient(name);
        let parent = group.rsplit_once('/').map_or("", |(parent, _)| parent);
        let slice = parent.rsplit('/').next().unwrap_or_default();
        if slice_path(slice).is_ok_and(|path| path == parent)
            && self.load(slice).is_ok_and(|id| self.is_sound(id))
        {
            let at = unit.place();
            let dependencies = &mut unit.dependencies;
            dependencies.imply(Relation::Requires, slice, at.clone());
            dependencies.imply(Relation::After, slice, at);
        }
        unit
    }

    fn is_sound(&self, id: UnitId) -> bool {
        let unit = self.graph.unit(id);
        unit.is_some_and(|unit| unit.load == LoadState::Loaded)
    }

    /// How a transient unit ended; it is forgotten.
    fn collect(&mut self, name: &str) -> Reply {
        match self.end_of(name) {
            Ok((id, reply)) => {
                self.forget_state(id);
                self.graph.forget(id);
                reply
            }
            Err(message) => Reply::Error(message),
        }
    }

    /// How a transient unit ended, if nothing of it is left.
    fn end_of(&mut self, name: &str) -> Result<(UnitId, Reply), String> {
        let id = self.known(name)?;
        let waits = self.jobs.get(id).is_some();
        let state = self.states.get_mut(id).filter(|state| state.plan.is_some());
        let state = state.ok_or_else(|| format!("{name} is not a transient unit"))?;
        if !state.phase.is_down() || waits {
            return Err(format!(
                "{name} has not ended ({}); watch it, or stop it",
                state.phase.word()
            ));
        }
        // What is left in the group would belong to no unit any more.
        self.host.clean(id, state);
        if let Some(group) = &state.cgroup {
            return Err(format!(
                "{name} has ended, but {group} is in use; kill what is left in it"
            ));
        }
        let reply = match (state.main_exit, &state.reason) {
            (Some(exit), _) => Reply::Exited(exit),
            (None, Some(reason)) => Reply::Error(reason.clone()),
            (None, None) => Reply::Error(format!("{name} never ran")),
        };
        Ok((id, reply))
    }
}

/// A unit that is only a plan.
pub(super) fn transient(name: &str) -> Unit {
    let mut unit = Unit::new(name, UnitType::Service);
    unit.dependencies.default = false;
    unit.start_limit.burst = 0;
    unit.load = LoadState::Loaded;
    unit
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
