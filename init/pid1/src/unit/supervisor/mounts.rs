//! Mount units: what the kernel says is mounted is what they are, whoever mounted it.
//!
//! A child mounts and unmounts ([`super::super::mount_point`]); the table of mounts tells the outcome. A unit without a
//! file, of which only the table tells, is left alone by a shutdown: what was mounted before the first unit goes after
//! the last.

use std::collections::BTreeSet;

use spec_unit::control::ExitStatus;
use spec_unit::directive::mount_point as settings;
use spec_unit::graph::{JobKind, UnitId};
use spec_unit::name::{UnitType, of_path};
use spec_unit::unit::{LoadState, Unit};

use super::super::mount_point;
use super::super::state::{Outcome, Phase};
use super::super::supervise::{Host as _, Role, Timer, describe};
use super::Supervisor;
use crate::mount_table;
use crate::sys::clone::Child;

/// Most bytes read of the table of mounts.
const MAX_TABLE: u64 = 4 << 20;

/// The mount units of all that is mounted now.
pub(in super::super) fn mounted() -> BTreeSet<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let table = std::fs::File::open("/proc/self/mountinfo");
    let read = table.and_then(|table| table.take(MAX_TABLE).read_to_string(&mut text));
    if let Err(cause) = read {
        crate::warning!("/proc/self/mountinfo: {cause}");
    }
    let table = mount_table::parse(&text);
    let names = table
        .iter()
        .filter_map(|mount| of_path(&mount.target, UnitType::Mount));
    names.collect()
}

impl Supervisor {
    /// Mount units that were loaded just now are what the table says.
    pub(super) fn see_new_mounts(&mut self) {
        let now = self.host.now_us();
        for (id, unit) in self.graph.units() {
            let Some(state) = self
                .states
                .get_mut(id)
                .filter(|_| unit.kind == UnitType::Mount)
            else {
                continue;
            };
            if state.phase == Phase::Dead
                && unit.load == LoadState::Loaded
                && self.host.mounted.contains(&unit.name)
            {
                (state.phase, state.since_us) = (Phase::Mounted, now);
                self.host.touched.insert(id);
            }
        }
    }

    /// The table has changed: units follow it, but those that a child is at work for wait for its end.
    pub(super) fn mounts_changed(&mut self) {
        self.host.mounted = mounted();
        let mounts: Vec<(UnitId, bool)> = self
            .graph
            .units()
            .filter(|(_, unit)| unit.kind == UnitType::Mount && unit.load == LoadState::Loaded)
            .map(|(id, unit)| (id, self.host.mounted.contains(&unit.name)))
            .collect();
        for (id, mounted) in mounts {
            match (self.phase(id), mounted) {
                (Phase::Dead | Phase::Failed, true) => {
                    self.enter(id, Phase::Mounted, Outcome::Success, None)
                }
                (Phase::Mounted, false) => self.enter(id, Phase::Dead, Outcome::Success, None),
                _ => {}
            }
        }
    }

    fn enter(&mut self, id: UnitId, phase: Phase, result: Outcome, reason: Option<String>) {
        self.host.arm(id, Timer::Phase, None);
        self.with_machine(id, |machine| {
            let state = &mut *machine.state;
            (state.phase, state.result, state.reason) = (phase, result, reason);
            (state.control, state.deadline_us) = (None, None);
        });
    }

    /// Whether the unit's file system is mounted.
    fn is_mounted(&self, id: UnitId) -> bool {
        let unit = self.graph.unit(id);
        unit.is_some_and(|unit| self.host.mounted.contains(&unit.name))
    }

    pub(super) fn start_mount(&mut self, id: UnitId) {
        let Some(unit) = self.graph.unit(id) else {
            return;
        };
        let begun = match &unit.fragment {
            Some(_) => settings::call(unit).and_then(|call| {
                mount_point::begin(&unit.name, &call).map_err(|cause| format!("process: {cause}"))
            }),
            None => Err("has no unit file, and nothing is mounted there any more".into()),
        };
        self.work(id, Phase::Mounting, begun);
    }

    /// Whether a stop of the unit was begun here, or needs none.
    pub(super) fn stop_mount(&mut self, id: UnitId) {
        let Some(unit) = self.graph.unit(id) else {
            return;
        };
        match self.phase(id) {
            Phase::Mounted => {
                let (target, settings) = (settings::target(&unit.name), &unit.mount_point);
                let begun = mount_point::begin_to_undo(&unit.name, &target, settings);
                self.work(
                    id,
                    Phase::Unmounting,
                    begun.map_err(|cause| format!("process: {cause}")),
                );
            }
            // Its child ends first; what it has mounted by then is unmounted.
            Phase::Mounting => self.kill_mount(id, Outcome::Success),
            _ => drop(self.with_machine(id, |_| {})),
        }
    }

    /// A child is at work for the unit, or could not be made.
    fn work(&mut self, id: UnitId, phase: Phase, begun: Result<Child, String>) {
        let span = self
            .graph
            .unit(id)
            .map_or(0, |unit| unit.mount_point.timeout_us);
        match begun {
            Ok(Child { pid, pidfd }) => {
                self.host.reaper.register(pid, (id, Role::Control));
                self.host.pidfds.insert(pid, pidfd);
                let at = (span != u64::MAX).then(|| self.host.now_us().saturating_add(span));
                self.host.arm(id, Timer::Phase, at);
                self.with_machine(id, |machine| {
                    let state = &mut *machine.state;
                    (state.phase, state.result, state.reason) = (phase, Outcome::Success, None);
                    (state.control, state.deadline_us) = (Some(pid), at);
                });
            }
            Err(message) => {
                let back = if self.is_mounted(id) {
                    Phase::Mounted
                } else {
                    Phase::Failed
                };
                self.enter(id, back, Outcome::Resources, Some(message));
            }
        }
    }

    /// SIGKILL to the child, which a dead disk may keep all the same.
    fn kill_mount(&mut self, id: UnitId, why: Outcome) {
        let span = self
            .graph
            .unit(id)
            .map_or(0, |unit| unit.mount_point.timeout_us);
        let at = (span != u64::MAX).then(|| self.host.now_us().saturating_add(span));
        self.host.arm(id, Timer::Phase, at);
        let pid = self.with_machine(id, |machine| {
            let state = &mut *machine.state;
            state.phase = Phase::UnmountingSigkill;
            if state.result == Outcome::Success {
                state.result = why;
            }
            state.deadline_us = at;
            state.control
        });
        if let Some(pid) = pid.flatten() {
            self.host.signal(pid, libc::SIGKILL);
        }
    }

    pub(super) fn mount_timed_out(&mut self, id: UnitId) {
        let name = self
            .graph
            .unit(id)
            .map(|unit| unit.name.clone())
            .unwrap_or_default();
        match self.phase(id) {
            Phase::Mounting | Phase::Unmounting => {
                crate::warning!(
                    "{name}: {} took too long (TimeoutSec=); its process is killed",
                    self.phase(id).word()
                );
                self.kill_mount(id, Outcome::Timeout);
            }
            Phase::UnmountingSigkill => {
                crate::error!("{name}: its process hangs, killed as it is; it is left behind");
                let pid = self.states.get(id).and_then(|state| state.control);
                if let Some(pid) = pid {
                    self.host.reaper.forget(pid);
                }
                self.settle_mount(id, Outcome::Timeout, Some("its process hangs".into()));
            }
            _ => {}
        }
    }

    /// The child has ended: what is mounted now counts, and not what it says.
    pub(super) fn mount_child_ended(&mut self, id: UnitId, status: ExitStatus) {
        self.host.mounted = mounted();
        let result = self
            .states
            .get(id)
            .map(|state| state.result)
            .unwrap_or_default();
        let (outcome, reason) = match status {
            ExitStatus::Exited(0) => (Outcome::Success, None),
            ExitStatus::Exited(number) => {
                let cause = std::io::Error::from_raw_os_error(number);
                (Outcome::ExitCode, Some(cause.to_string()))
            }
            ExitStatus::Signaled(_) => (Outcome::Signal, Some(describe(status))),
            ExitStatus::Dumped(_) => (Outcome::CoreDump, Some(describe(status))),
        };
        let outcome = if result == Outcome::Success {
            outcome
        } else {
            result
        };
        self.settle_mount(id, outcome, reason);
        // Others may have changed in the same moment.
        self.mounts_changed();
    }

    fn settle_mount(&mut self, id: UnitId, outcome: Outcome, reason: Option<String>) {
        let (mounted, phase) = (self.is_mounted(id), self.phase(id));
        let stops = self
            .jobs
            .get(id)
            .is_some_and(|job| job.running && job.kind.stops());
        let (next, outcome, reason) = match (mounted, outcome) {
            (true, outcome) => (Phase::Mounted, outcome, reason),
            (false, Outcome::Success) if phase == Phase::Mounting => {
                let why = "nothing is mounted there, although its process ended well";
                (Phase::Failed, Outcome::Protocol, Some(why.into()))
            }
            (false, Outcome::Success) => (Phase::Dead, Outcome::Success, None),
            // It was to go, and it is gone.
            (false, Outcome::Signal) if stops => (Phase::Dead, Outcome::Success, None),
            (false, outcome) => (Phase::Failed, outcome, reason),
        };
        self.enter(id, next, outcome, reason);
        if stops && next == Phase::Mounted {
            self.stop_failed(id, phase);
        }
    }

    /// It is still mounted. The stop goes on if it was the mount that was ended, and has failed if it was the unmount.
    fn stop_failed(&mut self, id: UnitId, phase: Phase) {
        let Some(unit) = self.graph.unit(id) else {
            return;
        };
        let result = self.states.get(id).map(|state| state.result);
        if phase == Phase::UnmountingSigkill && result == Some(Outcome::Signal) {
            return self.stop_mount(id);
        }
        crate::error!(
            "{} stays mounted: it is in use, or its disk or server does not answer",
            unit.name
        );
        self.finish_job(id);
        self.announce(id);
    }

    /// Whether a shutdown leaves the unit alone: it is there without a file.
    pub(super) fn is_of_the_boot(unit: &Unit) -> bool {
        unit.kind == UnitType::Mount && unit.fragment.is_none()
    }

    /// Whether the job of a unit waits for something that nobody here does.
    pub(super) fn is_kind(&self, id: UnitId, kind: UnitType) -> bool {
        self.graph.unit(id).is_some_and(|unit| unit.kind == kind)
    }

    /// Takes one step of a mount unit's job, if it is one.
    pub(super) fn stop_if_mount(&mut self, id: UnitId, kind: JobKind) -> bool {
        let is_mount = self.is_kind(id, UnitType::Mount);
        if is_mount && kind.stops() {
            self.stop_mount(id);
        }
        is_mount
    }
}
