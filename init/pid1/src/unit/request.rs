//! Requests of the control socket, carried out.

use std::os::fd::OwnedFd;

use spec_unit::control::{Reply, Request};
use spec_unit::directive::dependency::Relation;
use spec_unit::graph::{JobKind, UnitId};
use spec_unit::name::{UnitName, UnitType};
use spec_unit::plan::ExecPlan;
use spec_unit::unit::{LoadState, Unit};

use super::state::{Outcome, Phase, UnitState};
use super::supervise::Host as _;
use super::supervisor::Supervisor;
use crate::protocol::Asked;

/// Units told at a time.
const PAGE: usize = 64;
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
        };
        match done {
            Ok(()) => Reply::Ok,
            Err(message) => Reply::Error(message),
        }
    }

    fn list(&self, offset: usize) -> Reply {
        let mut all: Vec<(&str, UnitId)> = self
            .graph
            .units()
            .map(|(id, unit)| (unit.name.as_str(), id))
            .collect();
        all.sort_unstable();
        let units: Vec<_> = all
            .iter()
            .skip(offset)
            .take(PAGE)
            .filter_map(|(_, id)| self.status(*id))
            .collect();
        let end = offset.saturating_add(PAGE);
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

    /// A request by hand starts anew: counters are forgotten, and the unit may refuse.
    fn by_hand(&mut self, name: &str, kind: JobKind) -> Result<(), String> {
        UnitName::parse(name)?;
        if let Some(unit) = self.graph.id(name).and_then(|id| self.graph.unit(id)) {
            let dependencies = &unit.dependencies;
            if kind != JobKind::Stop && dependencies.refuse_manual_start {
                return Err(format!(
                    "{name} is not to be started by hand (RefuseManualStart=)"
                ));
            }
            if kind == JobKind::Stop && dependencies.refuse_manual_stop {
                return Err(format!(
                    "{name} is not to be stopped by hand (RefuseManualStop=)"
                ));
            }
        }
        self.request(name, kind)
    }

    fn reload(&mut self, name: &str) -> Result<(), String> {
        let id = self.known(name)?;
        self.with_machine(id, |machine| machine.reload())
            .ok_or("has no state")??;
        let others: Vec<UnitId> = self.graph.on(id, Relation::PropagatesReloadTo).collect();
        for other in others {
            if let Some(Err(message)) = self.with_machine(other, |machine| machine.reload()) {
                crate::warning!("{message}");
            }
        }
        Ok(())
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
        if self.graph.id(name).is_none() && Self::has_file(&parsed) {
            return Err(format!("{name} has a unit file; choose another name"));
        }
        let fds = fds
            .into_iter()
            .map(crate::sys::clone::lift)
            .collect::<Result<Vec<_>, _>>();
        let fds = fds.map_err(|cause| format!("file descriptors: {cause}"))?;
        let mut unit = Unit::new(name, UnitType::Service);
        unit.dependencies.default = false;
        unit.start_limit.burst = 0;
        unit.load = LoadState::Loaded;
        let id = self.graph.insert(unit)?;
        self.make_room();
        if let Some(state) = self.states.get_mut(id) {
            *state = UnitState {
                plan: Some(Box::new(plan)),
                ..UnitState::default()
            };
        }
        self.host.handed.insert(id, fds);
        self.request(name, JobKind::Start)
    }

    /// How a transient unit ended; it is forgotten.
    fn collect(&mut self, name: &str) -> Reply {
        let found = self.known(name).and_then(|id| {
            let state = self.states.get(id).filter(|state| state.plan.is_some());
            state
                .map(|state| (id, state))
                .ok_or_else(|| format!("{name} is not a transient unit"))
        });
        let (id, state) = match found {
            Ok(found) => found,
            Err(message) => return Reply::Error(message),
        };
        if !state.phase.is_down() || self.jobs.get(id).is_some() {
            return Reply::Error(format!(
                "{name} has not ended ({}); watch it, or stop it",
                state.phase.word()
            ));
        }
        let reply = match (state.main_exit, &state.reason) {
            (Some(exit), _) => Reply::Exited(exit),
            (None, reason) => Reply::Error(
                reason
                    .clone()
                    .unwrap_or_else(|| format!("{name} never ran")),
            ),
        };
        if let Some(state) = self.states.get_mut(id) {
            *state = UnitState::default();
        }
        self.graph.forget(id);
        reply
    }
}
