//! The supervisor: all units, their jobs, and the loop that turns events into their next steps.
//!
//! Each event reaches one unit's [`Machine`]; [`Supervisor::settle`] then draws what follows for the others: a job is
//! done, dependents stop, watchers hear of it. Nothing here waits but [`Supervisor::turn`].

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use spec_unit::control::{MAX_TEXT, ShutdownAction, UnitStatus};
use spec_unit::directive::dependency::Relation;
use spec_unit::finding::{Finding, Severity};
use spec_unit::graph::{Graph, JobKind, Transaction, UnitId};
use spec_unit::load::Loader;
use spec_unit::name::{UnitName, UnitType};
use spec_unit::unit::LoadState;

use super::Config;
use super::condition;
use super::host::NodeHost;
use super::job::Jobs;
use super::node::{self, UnitFiles};
use super::state::{Active, Outcome, Phase, UnitState};
use super::supervise::{Host as _, Machine, Role, Timer};
use crate::error::{Error, Result, What, settle};
use crate::event::Source;
use crate::notify::NotifySocket;
use crate::protocol::Control;

pub(super) use mounts::mounted;
pub(crate) use takeover::State;

/// Jobs begun in a turn, so that a transaction of many takes turns with everything else.
const JOBS: usize = 8;

/// All units and what they are supervised with.
#[derive(Debug)]
pub(crate) struct Supervisor {
    config: Config,
    pub(super) graph: Graph,
    pub(super) states: Vec<UnitState>,
    pub(super) jobs: Jobs,
    pub(super) host: NodeHost,
    notify: Option<NotifySocket>,
    pub(super) control: Option<Control>,
    shutdown: Option<shutdown::Shutdown>,
    /// Units that are perhaps to be started because another one upholds them.
    upheld: BTreeSet<UnitId>,
    /// Processes that have ended may wait to be collected, and no signal will tell.
    unreaped: bool,
    /// Jobs whose turn it is wait for the next turn.
    jobs_wait: bool,
    /// When the groups are looked at again that could not be read.
    look_again_us: Option<u64>,
    /// What units have made PID 1 say.
    complaints: complaint::Complaints,
    /// PID 1 is to execute itself anew.
    pub(super) reexecute: bool,
    /// What the next image of PID 1 would go on with.
    mirrored: takeover::Mirrored,
    /// What is watched for want of memory.
    pressure: pressure::Pressure,
}

impl Supervisor {
    /// Opens sockets and the loop. Without the loop nothing can be supervised; a missing socket is said.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let mut supervisor = Self::open_with(config, None, None)?;
        supervisor.begin_pressure(pressure::Record::default());
        Ok(supervisor)
    }

    /// The same with sockets that are bound already, so that nothing which waits in them is lost.
    fn open_with(
        config: &Config,
        notify: Option<OwnedFd>,
        control: Option<OwnedFd>,
    ) -> Result<Self> {
        let host = NodeHost::open(&config.cgroup_root)
            .map_err(|cause| Error::new(What::EventLoop, cause))?;
        super::host::raise_open_files();
        let socket =
            |path: &Path| Error::at::<std::io::Error>(What::Sockets, path.display().to_string());
        let notify = notify.map_or_else(
            || NotifySocket::open(&config.notify_socket),
            |socket| Ok(NotifySocket::of(socket)),
        );
        let control = control.map_or_else(
            || Control::open(&config.control_socket),
            |socket| Ok(Control::of(socket)),
        );
        let notify = notify.map_err(socket(&config.notify_socket));
        let control = control.map_err(socket(&config.control_socket));
        let (notify, control) = (said(notify), said(control));
        let listen = |fd, source| {
            said(
                host.events
                    .add(fd, source)
                    .map_err(|cause| Error::new(What::Sockets, cause)),
            )
        };
        if let Some(notify) = &notify {
            listen(notify.fd(), Source::Notify);
        }
        if let Some(control) = &control {
            listen(control.fd(), Source::Control);
        }
        let (graph, states, jobs) = (Graph::default(), Vec::new(), Jobs::default());
        Ok(Self {
            config: config.clone(),
            graph,
            states,
            jobs,
            host,
            notify,
            control,
            shutdown: None,
            upheld: BTreeSet::new(),
            unreaped: false,
            jobs_wait: false,
            look_again_us: None,
            complaints: complaint::Complaints::default(),
            reexecute: false,
            mirrored: takeover::Mirrored::open(),
            pressure: pressure::Pressure::default(),
        })
    }

    /// Whether root may ask PID 1 to crash.
    pub(super) fn allows_faults(&self) -> bool {
        self.config.faults
    }

    /// Starts the unit that brings in all others.
    pub(crate) fn start_target(&mut self, target: &str) {
        if let Err(message) = self.request(target, JobKind::Start) {
            settle(&Error::new(What::Units, message));
        }
    }

    fn loader<T>(
        &mut self,
        use_it: impl FnOnce(&mut Graph, &Loader<'_>) -> std::result::Result<T, String>,
    ) -> std::result::Result<T, String> {
        let allowed =
            node::read_bounded(&self.config.isolation_allowed, 1 << 16).unwrap_or_default();
        let allowed = String::from_utf8_lossy(&allowed)
            .lines()
            .map(|line| line.trim().to_string())
            .collect::<Vec<_>>();
        let files = UnitFiles::below(&self.config.root);
        let loader = Loader::new(&files, &self.host.facts)?.allow(allowed);
        let loader = loader.mounted(self.host.mounted.clone());
        use_it(&mut self.graph, &loader)
    }

    /// The place of a unit, its files read if that has not been done.
    pub(super) fn load(&mut self, name: &str) -> std::result::Result<UnitId, String> {
        let known = self.graph.id(name);
        let sound = known
            .and_then(|id| self.graph.unit(id))
            .is_some_and(|unit| unit.load == LoadState::Loaded);
        let (id, findings) = match known {
            Some(id) if sound => return Ok(id),
            Some(id) => self.loader(|graph, loader| graph.reload(loader, id))?,
            None => self.loader(|graph, loader| graph.load(loader, name))?,
        };
        self.make_room();
        self.see_new_mounts();
        self.see_new_devices();
        findings.iter().for_each(say);
        Ok(id)
    }

    /// A state for every place in the graph.
    pub(super) fn make_room(&mut self) {
        let places = self.graph.units().map(|(id, _)| id + 1).max().unwrap_or(0);
        if self.states.len() < places {
            self.states.resize_with(places, UnitState::default);
        }
    }

    fn phase(&self, id: UnitId) -> Phase {
        self.states.get(id).map_or(Phase::Dead, |state| state.phase)
    }

    fn is_active(&self, id: UnitId) -> bool {
        matches!(
            self.phase(id).active(),
            Active::Up | Active::Reloading | Active::Activating
        )
    }

    /// Queues what a request means for all units.
    pub(super) fn request(&mut self, name: &str, kind: JobKind) -> std::result::Result<(), String> {
        if let (Some(action), JobKind::Start) = (ShutdownAction::of_target(name), kind) {
            self.begin_shutdown(action);
            return Ok(());
        }
        if self.shutdown.is_some() && kind != JobKind::Stop {
            return Err("the node is shutting down".into());
        }
        let id = self.load(name)?;
        let transaction = {
            let active = |id: UnitId| self.is_active(id);
            match kind {
                JobKind::Start => self.graph.start(id, &active)?,
                JobKind::Stop => self.graph.stop([id], &active),
                JobKind::Restart => self.graph.restart(id, &active)?,
            }
        };
        self.submit(&transaction);
        Ok(())
    }

    fn submit(&mut self, transaction: &Transaction) {
        transaction
            .skipped
            .iter()
            .for_each(|skipped| crate::warning!("not started: {skipped}"));
        for (id, kind) in &transaction.jobs {
            if self.jobs.get(*id).is_none_or(|job| job.kind != *kind) {
                self.time_job(*id);
            }
        }
        let findings = self.jobs.submit(transaction, &self.graph);
        findings.iter().for_each(say);
    }

    /// Begins every job whose turn it is.
    pub(crate) fn run_jobs(&mut self) {
        self.run_ready_jobs();
        while let Some(id) = self.upheld.pop_first() {
            self.uphold(id);
            self.run_ready_jobs();
        }
    }

    /// Of many a part: what has happened meanwhile is heard between them, and each child is born with the descriptors
    /// that its elders' reports keep open.
    fn run_ready_jobs(&mut self) {
        self.host.accounts.hold();
        self.begin_ready_jobs();
        self.host.accounts.release();
    }

    fn begin_ready_jobs(&mut self) {
        self.jobs_wait = false;
        for begun in 0.. {
            if begun >= JOBS {
                self.jobs_wait = true;
                return;
            }
            let Some((id, kind)) = self.jobs.next(&self.graph) else {
                break;
            };
            self.time_running_job(id);
            match kind {
                JobKind::Start => self.run_start(id),
                JobKind::Stop | JobKind::Restart if self.stop_if_mount(id, kind) => {}
                JobKind::Stop | JobKind::Restart if self.is_kind(id, UnitType::Device) => {
                    self.finish_job(id);
                }
                JobKind::Stop | JobKind::Restart => {
                    self.leave_slice(id);
                    let restarting = kind == JobKind::Restart;
                    self.with_machine(id, |machine| {
                        machine.state.restarting = restarting;
                        machine.stop();
                    });
                }
            }
        }
        if self.jobs.iter().next().is_none() {
            self.host.no_job_left();
        }
    }

    fn run_start(&mut self, id: UnitId) {
        match self.phase(id).active() {
            Active::Up | Active::Reloading => self.finish_job(id),
            Active::Deactivating => self.jobs.postpone(id),
            Active::Activating if self.phase(id) != Phase::AutoRestart => {}
            _ => self.start_now(id, false),
        }
    }

    /// Starts a unit that is down, if its conditions hold.
    fn start_now(&mut self, id: UnitId, automatic: bool) {
        let Some(unit) = self.graph.unit(id) else {
            return;
        };
        let unmet = condition::check(&unit.conditions, &self.host.facts).err();
        let kind = unit.kind;
        match unmet {
            Some(unmet) => {
                let outcome = match unmet.assert {
                    true => Outcome::Assert,
                    false => Outcome::Condition,
                };
                if unmet.assert {
                    crate::error!("{} not started: {}", unit.name, unmet.what);
                }
                // As in systemd the job fails where an assert does not hold, and the unit has not.
                self.with_machine(id, |machine| {
                    machine.refuse(Phase::Dead, outcome, unmet.what)
                });
            }
            None => match kind {
                UnitType::Target => drop(self.with_machine(id, |machine| machine.reach())),
                UnitType::Slice => self.start_slice(id),
                UnitType::Mount => self.start_mount(id),
                UnitType::Device => self.start_device(id),
                _ => drop(self.with_machine(id, |machine| machine.begin(automatic))),
            },
        }
        self.watch_start_limit(id);
        self.note_upheld(id, self.phase(id));
    }

    /// Lets a unit take one step, and draws what follows.
    pub(super) fn with_machine<T>(
        &mut self,
        id: UnitId,
        step: impl FnOnce(&mut Machine<'_>) -> T,
    ) -> Option<T> {
        let (unit, state) = (self.graph.unit(id)?, self.states.get_mut(id)?);
        let before = state.phase;
        let done = step(&mut Machine {
            id,
            unit,
            state,
            host: &mut self.host,
        });
        // First what has happened, as a process may have been made; then what follows from it.
        self.mirror_unit(id);
        self.settle(id, before);
        self.mirror_unit(id);
        Some(done)
    }

    fn settle(&mut self, id: UnitId, before: Phase) {
        let now = self.host.now_us();
        let Some(state) = self.states.get_mut(id) else {
            return;
        };
        let phase = state.phase;
        let changed = before.active() != phase.active();
        if changed {
            state.since_us = now;
            self.tell(id);
            self.note_upheld(id, phase);
        }
        // One that waits for its restart is down, with no group, and as active as before.
        if changed || before.is_down() != phase.is_down() {
            self.watch_pressure(id);
        }
        if phase != before {
            self.announce(id);
        }
        if phase.is_down() {
            // Waits for the unit to be down end here.
            self.jobs.wake(id);
        }
        self.settle_job(id, phase);
        if phase.is_down() && self.jobs.get(id).is_none() {
            // It was stopped before it started, or could not be started.
            self.host.drop_handed(id);
        }
        if phase.is_down() {
            self.release_stored(id);
        }
        if changed && before.is_up() && !phase.is_up() && self.jobs.get(id).is_none() {
            self.stop_bound(id);
        }
        if phase != before {
            self.act_on_end(id, before, phase);
        }
        if phase != before && phase == Phase::Failed {
            self.trigger(id, Relation::OnFailure);
        } else if phase == Phase::Dead && self.has_succeeded(id, before) {
            // A oneshot may go down in the same step in which its last command has ended.
            self.trigger(id, Relation::OnSuccess);
        }
        if changed && phase.is_down() {
            self.stop_unneeded(id);
        }
    }

    fn tell(&self, id: UnitId) {
        let (Some(unit), Some(state)) = (self.graph.unit(id), self.states.get(id)) else {
            return;
        };
        let (name, reason) = (&unit.name, state.reason.as_deref().unwrap_or_default());
        match state.phase {
            Phase::Active if unit.kind == UnitType::Slice => crate::debug!("{name} is made"),
            Phase::Active => crate::info!("reached {name}"),
            Phase::Running | Phase::Exited => crate::info!("{name} started"),
            Phase::Mounted => crate::info!("{name} is mounted"),
            Phase::Plugged => crate::info!("{name} is there"),
            Phase::Dead if unit.kind == UnitType::Device => crate::info!("{name} is gone"),
            Phase::Failed => crate::error!("{name} failed ({}): {reason}", state.result.word()),
            Phase::AutoRestart => {
                let group = state.cgroup.as_deref();
                let left = group.is_some_and(|group| self.host.populated(group));
                crate::warning!(
                    "{name} ended ({}): {reason}; its control group is {}; restart {}",
                    state.result.word(),
                    if left { "in use" } else { "empty" },
                    state.restarts
                );
            }
            Phase::Dead if !reason.is_empty() && state.result.is_fine() => {
                crate::info!("{name} skipped: {reason}")
            }
            Phase::Dead => crate::info!("{name} stopped"),
            phase => crate::debug!("{name}: {}", phase.word()),
        }
    }

    fn settle_job(&mut self, id: UnitId, phase: Phase) {
        let Some(job) = self.jobs.get(id).filter(|job| job.running) else {
            return;
        };
        let result = self.states.get(id).map(|state| state.result);
        let skipped = result != Some(Outcome::Success);
        match job.kind {
            // It waits for its device.
            JobKind::Start
                if phase == Phase::Dead && !skipped && self.is_kind(id, UnitType::Device) => {}
            JobKind::Start if phase == Phase::Dead && result == Some(Outcome::Assert) => {
                self.finish_job(id);
                self.fail_dependents(id);
            }
            JobKind::Start if phase.is_up() || phase == Phase::Dead => self.finish_job(id),
            JobKind::Start if phase.is_down() => {
                self.finish_job(id);
                self.fail_dependents(id);
            }
            JobKind::Stop if phase.is_down() => self.finish_job(id),
            JobKind::Restart if phase.is_down() => self.jobs.stopped_for_restart(id, &self.graph),
            _ => {}
        }
    }

    /// Starts that wait for a unit that has failed will not happen.
    fn fail_dependents(&mut self, id: UnitId) {
        let name = self
            .graph
            .unit(id)
            .map(|unit| unit.name.clone())
            .unwrap_or_default();
        let relations = [Relation::Requires, Relation::BindsTo, Relation::Requisite];
        let dependents: Vec<UnitId> = relations
            .iter()
            .flat_map(|relation| self.graph.dependents(id, *relation))
            .collect();
        for dependent in dependents {
            if self
                .jobs
                .get(dependent)
                .is_none_or(|job| job.kind != JobKind::Start || job.running)
            {
                continue;
            }
            if let Some(state) = self.states.get_mut(dependent) {
                state.result = Outcome::Dependency;
                state.reason = Some(format!("{name} did not start"));
                let unit = self
                    .graph
                    .unit(dependent)
                    .map(|unit| unit.name.as_str())
                    .unwrap_or_default();
                crate::error!("{unit} not started: {name} did not start");
            }
            self.finish_job(dependent);
            self.announce(dependent);
            self.trigger(dependent, Relation::OnFailure);
            self.fail_dependents(dependent);
        }
    }

    /// A unit went down by itself: those bound to it follow.
    fn stop_bound(&mut self, id: UnitId) {
        let bound: Vec<UnitId> = self
            .graph
            .dependents(id, Relation::BindsTo)
            .chain(self.graph.dependents(id, Relation::StopPropagatedFrom))
            .filter(|bound| self.is_active(*bound))
            .collect();
        if !bound.is_empty() {
            let transaction = self.graph.stop(bound, &|id| self.is_active(id));
            self.submit(&transaction);
        }
    }

    fn stop_unneeded(&mut self, id: UnitId) {
        let needs = [
            Relation::Requires,
            Relation::Wants,
            Relation::BindsTo,
            Relation::Upholds,
        ];
        let unneeded: Vec<UnitId> = needs
            .iter()
            .flat_map(|relation| self.graph.on(id, *relation))
            .filter(|on| {
                self.graph
                    .unit(*on)
                    .is_some_and(|unit| unit.dependencies.stop_when_unneeded)
            })
            .filter(|on| self.phase(*on).is_up() && self.jobs.get(*on).is_none())
            .filter(|on| {
                !needs.iter().any(|need| {
                    self.graph
                        .dependents(*on, *need)
                        .any(|user| self.is_active(user))
                })
            })
            .collect();
        if !unneeded.is_empty() {
            let transaction = self.graph.stop(unneeded, &|id| self.is_active(id));
            self.submit(&transaction);
        }
    }

    fn trigger(&mut self, id: UnitId, relation: Relation) {
        if self.shutdown.is_some() {
            return;
        }
        let list = self
            .graph
            .unit(id)
            .map(|unit| unit.dependencies.of(relation).map(|on| on.on.clone()));
        for name in list.into_iter().flatten().collect::<Vec<_>>() {
            if let Err(message) = self.request(&name, JobKind::Start) {
                crate::warning!("{name} not started: {message}");
            }
        }
    }

    /// The state of a unit for whoever asks.
    pub(super) fn status(&self, id: UnitId) -> Option<UnitStatus> {
        let (unit, state) = (self.graph.unit(id)?, self.states.get(id)?);
        let waits = self
            .jobs
            .get(id)
            .filter(|job| !job.running)
            .map(|job| match job.kind {
                JobKind::Start => "waits for its turn to start",
                _ => "waits for its turn to stop",
            });
        let status = UnitStatus {
            name: unit.name.clone(),
            description: unit.description.text.clone(),
            load: unit.load.word().into(),
            active: state.phase.active().word().into(),
            sub: state.phase.word().into(),
            main_pid: state.main,
            cgroup: state.cgroup.clone(),
            status_text: state.status_text.clone(),
            result: state.result.result().into(),
            exit: state.main_exit,
            restarts: state.restarts,
            reason: state
                .reason
                .clone()
                .or(unit.reason.clone())
                .or(waits.map(String::from)),
            since_monotonic_us: state.since_us,
            main_started_monotonic_us: state.started_us,
        };
        Some(status.cut(MAX_TEXT))
    }

    /// How long nothing is to be done, at most `longest`, unless something happens.
    fn idle(&self, longest: Duration) -> Duration {
        if self.unreaped || self.jobs_wait || self.reexecute || self.host.cgroups.unseen {
            return Duration::ZERO;
        }
        let now = self.host.now_us();
        let shutdown = self
            .shutdown
            .map(|shutdown| shutdown.report_us.min(shutdown.deadline_us));
        let clocks = self.host.timers.next_us().into_iter().chain(shutdown);
        let clocks = clocks.chain(self.look_again_us);
        let clocks = clocks.chain(self.pressure.next_us());
        let clocks = clocks.map(|at| Duration::from_micros(at.saturating_sub(now)));
        let pause = self.control.as_ref().and_then(Control::resumes_at);
        let pause = pause.map(|at| at.saturating_duration_since(Instant::now()));
        clocks.chain(pause).fold(longest, Duration::min)
    }

    /// Waits for something to happen, at most `longest`, and acts on it.
    pub(crate) fn turn(&mut self, longest: Duration) -> std::io::Result<()> {
        let mut longest = self.idle(longest);
        if crate::log::queue::drain() {
            longest = longest.min(crate::log::queue::PAUSE);
        }
        let mut ready = self.host.events.wait(longest)?;
        if self.unreaped && !ready.contains(&Source::Signals) {
            ready.push(Source::Signals);
        }
        self.look_again_if_due();
        if self.host.cgroups.unseen && !ready.contains(&Source::Cgroups) {
            ready.push(Source::Cgroups);
        }
        // What a process said, and whether its program ran, is heard before its end.
        ready.sort_by_key(|source| match source {
            Source::Exec(_) => 0,
            Source::Notify => 1,
            Source::Signals | Source::Named(_) | Source::Stored(_) => 2,
            Source::Cgroups | Source::Mounts | Source::Pressure(_) => 3,
            Source::Control | Source::Client(_) => 4,
        });
        for source in ready {
            match source {
                Source::Exec(pid) => self.exec_report(pid as i32),
                Source::Notify => {
                    self.hear(process::BATCH);
                }
                Source::Signals => self.take_signals(),
                Source::Named(pid) => self.named_ended(pid as i32),
                Source::Stored(number) => self.stored_ended(number),
                Source::Cgroups => self.groups_changed(),
                Source::Mounts => self.mounts_changed(),
                Source::Pressure(number) => self.pressure_told(number),
                Source::Control => self.accept(),
                Source::Client(number) => self.serve(number),
            }
        }
        let now = self.host.now_us();
        if self.host.timers.next_us().is_some_and(|at| at <= now) {
            // Who has spoken in time is not late because PID 1 was.
            self.hear_all();
        }
        while let Some((id, timer)) = self.host.timers.due(now) {
            match timer {
                Timer::Job => self.job_timed_out(id),
                Timer::Upheld => drop(self.upheld.insert(id)),
                _ if self.phase(id) == Phase::AutoRestart => self.restart_due(id),
                _ if self.is_kind(id, UnitType::Mount) => self.mount_timed_out(id),
                _ => drop(self.with_machine(id, |machine| machine.timer(timer))),
            }
        }
        self.look_at_pressure();
        self.watch_shutdown(now);
        if let Some(control) = &mut self.control {
            control.end_pause(&self.host.events);
            self.host.closing.close(control.left());
        }
        self.host.closing.begin();
        Ok(())
    }

    fn restart_due(&mut self, id: UnitId) {
        if self.jobs.get(id).is_none() && self.shutdown.is_none() {
            self.time_job(id);
            self.jobs.submit_running(id);
            self.time_running_job(id);
            self.start_now(id, true);
        }
    }

    /// Whether a unit file goes by this name, or by its template's.
    pub(super) fn has_file(&self, name: &UnitName) -> bool {
        let files = UnitFiles::below(&self.config.root);
        let template = name.template().map(|template| template.to_string());
        let mut names = std::iter::once(name.to_string()).chain(template);
        names.any(|name| files.has(&name))
    }

    fn accept(&mut self) {
        if let Some(control) = &mut self.control {
            let accounts = std::cell::LazyCell::new(node::accounts);
            let name_of = |uid| accounts.name_of(uid).map(String::from);
            let unit_of = |pid| {
                let (id, _) = self
                    .host
                    .reaper
                    .owner(pid)
                    .filter(|(_, role)| *role == Role::Main)?;
                Some(self.graph.unit(id)?.name.clone())
            };
            control.accept(&self.host.events, name_of, unit_of);
        }
    }
}

/// Says a failure that costs a part.
fn said<T>(result: Result<T>) -> Option<T> {
    result.map_err(|error| settle(&error)).ok()
}

fn say(finding: &Finding) {
    match finding.severity {
        Severity::Warning => crate::warning!("{finding}"),
        Severity::Isolation | Severity::Error => crate::error!("{finding}"),
    }
}

mod action;
mod complaint;
mod devices;
mod mounts;
mod pressure;
mod process;
mod shutdown;
mod slice;
mod startup;
mod takeover;
#[cfg(test)]
mod tests;
mod uphold;
