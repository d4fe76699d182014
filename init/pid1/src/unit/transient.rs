//! Transient units: they exist only as a plan that a client has handed over, until somebody collects them.
//!
//! They belong to no connection. A client that dies loses nothing: its units run on, and another client waits for them
//! and collects them, if it is root or the same user. What such a user may have run is [`Rights`]' to say; what it is
//! given here is a user made up for the run, no privilege, and no way to one.
//!
//! [`Rights`]: crate::protocol

use std::os::fd::OwnedFd;

use spec_unit::capability::CapabilitySet;
use spec_unit::control::{MAX_TRANSIENT, MAX_TRANSIENT_OF_ONE_USER, Reply};
use spec_unit::directive::dependency::Relation;
use spec_unit::directive::resource::slice_path;
use spec_unit::graph::{JobKind, UnitId};
use spec_unit::name::{UnitName, UnitType};
use spec_unit::plan::{Credentials, ExecPlan};
use spec_unit::unit::{LoadState, Unit};

use super::state::{Phase, UnitState};
use super::supervise::Host as _;
use super::supervisor::Supervisor;

/// Where transient units may live; one that says nothing else lives in the first.
const SLICES: [&str; 2] = ["task.slice/", "system.slice/"];

impl Supervisor {
    /// Starts a unit that exists only as a plan.
    pub(super) fn run_transient(
        &mut self,
        asked_by: u32,
        name: &str,
        mut plan: ExecPlan,
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let parsed = UnitName::parse(name)?;
        if parsed.kind != UnitType::Service || parsed.is_template() {
            return Err(format!("{name}: a transient unit is a service"));
        }
        let own = plan.cgroup.path.as_str();
        if asked_by != 0 || !SLICES.iter().any(|slice| own.starts_with(slice)) {
            plan.cgroup.path = format!("{}{name}", SLICES[0]);
        }
        plan.check(fds.len())?;
        self.has_room_for(asked_by)?;
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
        let unit = self.transient_in(name, asked_by, &plan.cgroup.path);
        let id = self.graph.insert(unit)?;
        self.make_room();
        if let Some(state) = self.states.get_mut(id) {
            *state = UnitState {
                plan: Some(Box::new(plan)),
                asked_by,
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
    pub(super) fn transient_in(&mut self, name: &str, asked_by: u32, group: &str) -> Unit {
        let mut unit = transient(name, asked_by);
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

    fn has_room_for(&self, asked_by: u32) -> Result<(), String> {
        let all = self.states.iter().filter(|state| state.plan.is_some());
        let own = all.clone().filter(|state| state.asked_by == asked_by);
        let (all, own) = (all.count(), own.count());
        let full = |most| {
            format!("{most} transient units already; collect those that have ended, or try later")
        };
        if all >= MAX_TRANSIENT {
            return Err(full(MAX_TRANSIENT));
        }
        if asked_by != 0 && own >= MAX_TRANSIENT_OF_ONE_USER {
            return Err(full(MAX_TRANSIENT_OF_ONE_USER));
        }
        Ok(())
    }

    /// How a transient unit ended; it is forgotten.
    pub(super) fn collect(&mut self, asked_by: u32, name: &str) -> Reply {
        match self.end_of(asked_by, name) {
            Ok((id, reply)) => {
                self.forget_state(id);
                self.graph.forget(id);
                reply
            }
            Err(message) => Reply::Error(message),
        }
    }

    /// How a transient unit ended, if nothing of it is left.
    fn end_of(&mut self, asked_by: u32, name: &str) -> Result<(UnitId, Reply), String> {
        let id = self.known(name)?;
        let waits = self.jobs.get(id).is_some();
        let state = self.states.get_mut(id).filter(|state| state.plan.is_some());
        let state = state.ok_or_else(|| format!("{name} is not a transient unit"))?;
        if asked_by != 0 && state.asked_by != asked_by {
            return Err(format!("{name} is not a unit of your user"));
        }
        if !state.phase.is_down() || waits {
            return Err(format!(
                "{name} has not ended ({}); wait for it, or stop it",
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

    /// Notes that a client waits for the end of a unit.
    pub(super) fn wait(&mut self, client: u32, id: u64, name: &str) -> Result<(), String> {
        self.known(name)?;
        match &mut self.control {
            Some(control) => control.wait(client, id, name),
            None => Err("there is no control socket".into()),
        }
    }

    /// Answers those who wait for a unit that has ended.
    pub(crate) fn answer_waits(&mut self) {
        let waits = self.control.iter().flat_map(|control| control.waits());
        let answers = waits.filter_map(|(client, id, name)| Some((client, id, self.over(name)?)));
        let answers: Vec<(u32, u64, Reply)> = answers.collect();
        let Some(control) = &mut self.control else {
            return;
        };
        for (client, id, reply) in answers {
            control.end_wait(&self.host.events, client, id, reply);
        }
    }

    /// What is to be said of a unit that is down, and of one that is not there any more.
    pub(super) fn over(&self, name: &str) -> Option<Reply> {
        let Some(id) = self.graph.id(name) else {
            return Some(Reply::Error(format!("{name} is forgotten")));
        };
        let state = self.states.get(id)?;
        let down = state.phase.is_down() && state.phase != Phase::AutoRestart;
        let over = down && self.jobs.get(id).is_none();
        over.then(|| self.status(id).map(Reply::Unit))?
    }
}

/// A unit that is only a plan.
pub(super) fn transient(name: &str, asked_by: u32) -> Unit {
    let mut unit = Unit::new(name, UnitType::Service);
    unit.dependencies.default = false;
    unit.start_limit.burst = 0;
    unit.load = LoadState::Loaded;
    unit.service.identity.dynamic = asked_by != 0;
    unit
}

/// Takes every privilege from a plan; `number` is the user and group made up for its run.
pub(super) fn confine(plan: &mut ExecPlan, number: u32) {
    plan.credentials = Some(Credentials {
        uid: number,
        gid: number,
        groups: Vec::new(),
    });
    if let Some(keyring) = &mut plan.keyring {
        (keyring.uid, keyring.gid) = (number, number);
    }
    plan.capabilities.bounding = Some(CapabilitySet(0));
    plan.no_new_privileges = true;
}
