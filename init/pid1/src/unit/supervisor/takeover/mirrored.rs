//! The mirror: written at each transition, so that a crash finds what stands.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd as _, RawFd};

use spec_unit::graph::UnitId;

use super::super::super::spawn::Shared;
use super::super::super::state::UnitState;
use super::super::super::supervise::{Host as _, Role, Timer};
use super::super::Supervisor;
use super::{Around, Kept, Line, Process, Report, Rest, VERSION};
use crate::protocol::ClientRecord;
use crate::reexec::Mirror;
use crate::watchdog::Watchdog;

/// How often all units are looked at while something happens, in microseconds.
const LOOK_US: u64 = 1_000_000;

/// What was written last of a unit.
#[derive(Debug)]
struct Seen {
    name: String,
    state: UnitState,
    around: Around,
}

/// The mirror and what stands in it, so that only what has changed is written.
#[derive(Debug, Default)]
pub(in super::super) struct Mirrored {
    pub(super) mirror: Option<Mirror>,
    seen: Vec<Option<Seen>>,
    rest: Option<Rest>,
    /// Room for a line that is being written.
    text: Vec<u8>,
    /// The line of the devices, and which version of their table it shows.
    devices: (u64, Vec<u8>),
    armed: bool,
    /// When all units were looked at last, CLOCK_MONOTONIC.
    looked_us: u64,
    pub(super) watchdog: Option<RawFd>,
    pub(super) crashes_us: Vec<u64>,
}

impl Mirrored {
    pub(in super::super) fn open() -> Self {
        let mirror = Mirror::new().map_err(|cause| {
            crate::warning!("no mirror of the units: {cause}; a crash of PID 1 will reboot");
        });
        Self {
            mirror: mirror.ok(),
            ..Self::default()
        }
    }

    /// As if all units had been looked at just now, and would not be again.
    #[cfg(test)]
    pub(super) fn put_off(&mut self) {
        self.armed = true;
        self.looked_us = u64::MAX;
    }

    fn append(&mut self, line: &Line<'_>) {
        let done = append(&mut self.mirror, &mut self.text, line);
        self.settle(done);
    }

    fn append_unit(&mut self, id: UnitId) {
        let Some(seen) = self.seen.get(id).and_then(Option::as_ref) else {
            return;
        };
        let line = Line::Unit(&seen.name, &seen.state, &seen.around);
        let done = append(&mut self.mirror, &mut self.text, &line);
        self.settle(done);
    }

    /// A mirror that does not show everything is of no use.
    fn settle(&mut self, written: std::io::Result<()>) {
        let Err(cause) = written else {
            return;
        };
        crate::error!("mirror of the units: {cause}; a crash of PID 1 will reboot");
        crate::reexec::disarm();
        self.mirror = None;
    }

    fn rewrite(&mut self) {
        let units = self.seen.iter().flatten();
        let lines = units.map(|seen| Line::Unit(&seen.name, &seen.state, &seen.around));
        let mut lines = lines.chain(self.rest.as_ref().map(Line::Rest));
        let mut text = Vec::new();
        let written = lines.try_for_each(|line| write_line(&mut text, &line));
        text.extend_from_slice(&self.devices.1);
        let mirror = self.mirror.as_mut();
        let replaced = mirror.map(|mirror| written.and_then(|()| mirror.replace(&text)));
        self.settle(replaced.unwrap_or(Ok(())));
    }
}

fn append(mirror: &mut Option<Mirror>, text: &mut Vec<u8>, line: &Line<'_>) -> std::io::Result<()> {
    text.clear();
    write_line(text, line)?;
    match mirror {
        Some(mirror) => mirror.append(text),
        None => Ok(()),
    }
}

fn write_line(text: &mut Vec<u8>, line: &Line<'_>) -> std::io::Result<()> {
    serde_json::to_writer(&mut *text, line)?;
    text.push(b'\n');
    Ok(())
}

impl Supervisor {
    fn around(&self, id: UnitId, own: &[(i32, Role)]) -> Around {
        let host = &self.host;
        let [first, .., last] = Timer::ALL;
        let timers = host.timers.between((id, first), (id, last));
        let timers = timers.map(|((_, timer), at)| (timer, at));
        let process = |&(pid, role): &(i32, Role)| Process {
            pid,
            role,
            pidfd: host.pidfds.get(&pid).map(|fd| fd.as_raw_fd()),
            report: host.reports.get(&pid).map(|(_, report)| {
                let (program, ready) = report.parts();
                Report {
                    socket: report.socket.as_raw_fd(),
                    program,
                    ready,
                }
            }),
        };
        let stored = host.stores.of(id).iter().map(|stored| Kept {
            name: stored.name.clone(),
            watched: stored.watched,
            fd: stored.fd.as_raw_fd(),
        });
        let namespaces = host.namespaces.get(&id);
        let namespace = |kind| namespaces.and_then(|namespaces| namespaces.get(kind));
        let handed = host.handed.get(&id).into_iter().flatten();
        let group = self.states.get(id).and_then(|state| state.cgroup.as_ref());
        Around {
            job: self.jobs.get(id),
            timers: timers.collect(),
            processes: own.iter().map(process).collect(),
            handed: handed.map(|fd| fd.as_raw_fd()).collect(),
            stored: stored.collect(),
            network: namespace(Shared::Network),
            ipc: namespace(Shared::Ipc),
            user: host.users.of(id),
            ipc_owner: host.ipc_owners.get(&id).copied(),
            held: group.and_then(|group| host.held.get(group)).cloned(),
        }
    }

    /// Mirrors one unit, if it has changed.
    pub(in super::super) fn mirror_unit(&mut self, id: UnitId) {
        let own = self.host.reaper.of((id, Role::Main), (id, Role::Control));
        let own: Vec<(i32, Role)> = own.map(|(pid, (_, role))| (pid, role)).collect();
        if self.mirrored.mirror.is_none() {
            return;
        }
        let around = self.around(id, &own);
        let unit = self.graph.unit(id);
        let name = unit.map_or("", |unit| unit.name.as_str());
        let none = UnitState::default();
        let state = self.states.get(id).unwrap_or(&none);
        let mirrored = &mut self.mirrored;
        if mirrored.seen.len() <= id {
            mirrored.seen.resize_with(id + 1, || None);
        }
        let Some(place) = mirrored.seen.get_mut(id) else {
            return;
        };
        let is_seen =
            |seen: &Seen| seen.name == name && seen.state == *state && seen.around == around;
        let blank = name.is_empty() || (*state == none && around == Around::default());
        match (place.take(), blank) {
            (None, true) => {}
            (Some(seen), true) => mirrored.append(&Line::Gone(&seen.name)),
            (Some(seen), false) if is_seen(&seen) => *place = Some(seen),
            (old, false) => {
                *place = Some(Seen {
                    name: name.to_string(),
                    state: state.clone(),
                    around,
                });
                let renamed = old.filter(|old| old.name != name);
                if let Some(old) = renamed {
                    mirrored.append(&Line::Gone(&old.name));
                }
                mirrored.append_unit(id);
            }
        }
    }

    /// Mirrors what is known to have changed; every second all units are looked at, so that nothing stays unseen.
    pub(crate) fn mirror_changed(&mut self, watchdog: Option<RawFd>) {
        let now = self.host.now_us();
        let due = self.mirrored.looked_us.saturating_add(LOOK_US);
        if now >= due || !self.mirrored.armed {
            self.mirrored.looked_us = now;
            return self.mirror(watchdog);
        }
        self.mirrored.watchdog = watchdog;
        for id in self.take_changed() {
            self.mirror_unit(id);
        }
        self.mirror_others();
    }

    /// Units of which something has changed since the last call.
    fn take_changed(&mut self) -> BTreeSet<UnitId> {
        let mut changed = std::mem::take(&mut self.host.touched);
        changed.extend(self.jobs.take_changed());
        let timers = self.host.timers.take_changed().into_iter();
        changed.extend(timers.map(|(id, _)| id));
        let owners = self.host.reaper.take_changed().into_iter();
        changed.extend(owners.map(|(id, _)| id));
        changed
    }

    /// Mirrors all that has changed, whoever knows of it. The first time a crash goes on from here.
    pub(crate) fn mirror(&mut self, watchdog: Option<RawFd>) {
        self.mirrored.watchdog = watchdog;
        self.take_changed();
        for id in 0..self.states.len().max(self.mirrored.seen.len()) {
            self.mirror_unit(id);
        }
        self.mirror_others();
    }

    /// What belongs to no unit; and the mirror as a whole.
    fn mirror_others(&mut self) {
        self.mirror_rest(Vec::new());
        self.mirror_devices();
        let Some(mirror) = &self.mirrored.mirror else {
            return;
        };
        if !self.mirrored.armed && std::process::id() == 1 {
            mirror.arm();
            self.mirrored.armed = true;
        }
        if mirror.is_long() {
            self.mirrored.rewrite();
        }
    }

    /// The table of devices, when it has changed.
    fn mirror_devices(&mut self) {
        let devices = &self.host.devices;
        if self.mirrored.devices.0 == devices.version {
            return;
        }
        self.mirrored.append(&Line::Devices(&devices.all()));
        self.mirrored.devices = (devices.version, self.mirrored.text.clone());
    }

    fn mirror_rest(&mut self, clients: Vec<ClientRecord>) {
        let rest = Rest {
            version: VERSION,
            shutdown: self.shutdown,
            starting: self.host.cgroups.starting,
            notify: self.notify.as_ref().map(|notify| notify.fd().as_raw_fd()),
            control: self
                .control
                .as_ref()
                .map(|control| control.fd().as_raw_fd()),
            clients,
            emptiers: self.host.emptiers.clone(),
            ipc_removers: self.host.removers.records(),
            removals: self.host.removals,
            idle: self.host.idle.as_ref().map(|idle| idle.as_raw_fd()),
            watchdog: self.mirrored.watchdog,
            crashes_us: self.mirrored.crashes_us.clone(),
            pressure: self.pressure.record(),
        };
        if self.mirrored.rest.as_ref() != Some(&rest) {
            self.mirrored.append(&Line::Rest(&rest));
            self.mirrored.rest = Some(rest);
        }
    }

    /// Mirrors everything, the clients too, for a re-execution that was asked for.
    pub(crate) fn mirror_for_exec(
        &mut self,
        watchdog: Option<RawFd>,
    ) -> std::result::Result<(), String> {
        self.mirror(watchdog);
        let clients = self.control.as_ref().map(|control| control.records());
        self.mirror_rest(clients.unwrap_or_default());
        self.mirrored.rewrite();
        let mirror = self.mirrored.mirror.as_ref();
        mirror
            .map(|_| ())
            .ok_or_else(|| "there is no mirror of the units".into())
    }

    /// Executes PID 1 anew, if somebody asked for it; returns if that failed, and nothing is lost.
    pub(crate) fn reexecute_if_asked(&mut self, watchdog: &mut Watchdog) {
        if !std::mem::take(&mut self.reexecute) {
            return;
        }
        // The new image has a whole span of it.
        watchdog.feed();
        let cause = match self.mirror_for_exec(watchdog.number()) {
            Ok(()) => crate::reexec::planned().to_string(),
            Err(why) => why,
        };
        crate::error!("PID 1 cannot execute itself anew and goes on as it is: {cause}");
    }
}
