//! What the supervisor knows, as plain data: mirrored at each transition, and taken over by the next image of PID 1.
//!
//! Units are named, not numbered: the new image reads their files anew. Descriptors are named by their numbers. Clients
//! of the control socket stay over a planned re-execution; after a crash their connections end, as one of them may wait
//! for an answer that nobody knows of any more.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use serde::{Deserialize, Serialize};
use spec_unit::graph::UnitId;
use spec_unit::name::UnitName;
use spec_unit::plan::filter::Filters;
use spec_unit::unit::Unit;

use super::super::job::Job;
use super::super::spawn::{ExecReport, Shared};
use super::super::state::UnitState;
use super::super::supervise::{Host as _, Role, Timer};
use super::shutdown::Shutdown;
use super::{Config, Supervisor, node};
use crate::error::Result;
use crate::event::Source;
use crate::protocol::ClientRecord;
use crate::reap;
use crate::reexec::{CRASH_WINDOW_US, MOST_CRASHES, Mirror};
use crate::watchdog::Watchdog;

/// Version of the mirror: an image does not read another one's.
const VERSION: u32 = 1;

/// What the supervisor has for a unit beside its state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Around {
    job: Option<Job>,
    timers: Vec<(Timer, u64)>,
    processes: Vec<Process>,
    handed: Vec<RawFd>,
    stored: Vec<Kept>,
    network: Option<RawFd>,
    ipc: Option<RawFd>,
    user: Option<(String, u32)>,
    held: Option<Filters>,
}

/// A process that somebody waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    pid: i32,
    role: Role,
    pidfd: Option<RawFd>,
    report: Option<Report>,
}

/// The report of a child whose program does not run yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    socket: RawFd,
    names: Vec<(String, i32)>,
    program: String,
}

/// A stored descriptor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    name: String,
    watched: bool,
    fd: RawFd,
}

/// What belongs to no unit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rest {
    version: u32,
    shutdown: Option<Shutdown>,
    starting: bool,
    notify: Option<RawFd>,
    control: Option<RawFd>,
    clients: Vec<ClientRecord>,
    emptiers: BTreeMap<i32, String>,
    removals: u64,
    idle: Option<RawFd>,
    watchdog: Option<RawFd>,
    crashes_us: Vec<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Unit(&'a str, &'a UnitState, &'a Around),
    Gone(&'a str),
    Rest(&'a Rest),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ReadLine {
    Unit(String, Box<UnitState>, Box<Around>),
    Gone(String),
    Rest(Box<Rest>),
}

/// What was written last of a unit.
#[derive(Debug)]
struct Seen {
    name: String,
    state: UnitState,
    around: Around,
}

/// The mirror and what stands in it, so that only what has changed is written.
#[derive(Debug, Default)]
pub(super) struct Mirrored {
    pub(super) mirror: Option<Mirror>,
    seen: Vec<Option<Seen>>,
    rest: Option<Rest>,
    armed: bool,
    pub(super) watchdog: Option<RawFd>,
    pub(super) crashes_us: Vec<u64>,
}

impl Mirrored {
    pub(super) fn open() -> Self {
        let mirror = Mirror::new().map_err(|cause| {
            crate::warning!("no mirror of the units: {cause}; a crash of PID 1 will reboot");
        });
        Self {
            mirror: mirror.ok(),
            ..Self::default()
        }
    }

    fn append(&mut self, line: &Line<'_>) {
        let written = serde_json::to_vec(line).map_err(std::io::Error::other);
        let Some(mirror) = &mut self.mirror else {
            return;
        };
        let written = written.and_then(|line| mirror.append(line));
        if let Err(cause) = written {
            self.fail(&cause);
        }
    }

    /// A mirror that does not show everything is of no use.
    fn fail(&mut self, cause: &std::io::Error) {
        crate::error!("mirror of the units: {cause}; a crash of PID 1 will reboot");
        crate::reexec::disarm();
        self.mirror = None;
    }

    fn rewrite(&mut self) {
        let units = self.seen.iter().flatten();
        let lines = units.map(|seen| Line::Unit(&seen.name, &seen.state, &seen.around));
        let lines = lines.chain(self.rest.as_ref().map(Line::Rest));
        let lines: std::result::Result<Vec<_>, _> =
            lines.map(|line| serde_json::to_vec(&line)).collect();
        let Some(mirror) = &mut self.mirror else {
            return;
        };
        let written = lines.map_err(std::io::Error::other);
        if let Err(cause) = written.and_then(|lines| mirror.replace(&lines)) {
            self.fail(&cause);
        }
    }
}

/// What a mirror says.
#[derive(Debug, Default)]
pub(crate) struct State {
    units: BTreeMap<String, (UnitState, Around)>,
    rest: Rest,
}

impl State {
    /// Reads a mirror. Its last line may be cut off.
    pub(crate) fn read(text: &[u8]) -> std::result::Result<Self, String> {
        let mut state = Self::default();
        let whole = text.len()
            - text
                .rsplit(|byte| *byte == b'\n')
                .next()
                .map_or(0, <[u8]>::len);
        let lines = text.get(..whole).unwrap_or_default();
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            match serde_json::from_slice(line).map_err(|cause| cause.to_string())? {
                ReadLine::Unit(name, unit, around) => {
                    state.units.insert(name, (*unit, *around));
                }
                ReadLine::Gone(name) => drop(state.units.remove(&name)),
                ReadLine::Rest(rest) => state.rest = *rest,
            }
        }
        match state.rest.version {
            VERSION => Ok(state),
            other => Err(format!("it is of version {other}; this is {VERSION}")),
        }
    }

    /// Number of the watchdog's descriptor.
    pub(crate) fn watchdog(&self) -> Option<RawFd> {
        self.rest.watchdog
    }

    /// Notes a crash; the error is that there were too many.
    pub(crate) fn note_crash(&mut self, now_us: u64) -> std::result::Result<(), String> {
        let crashes = &mut self.rest.crashes_us;
        crashes.retain(|at| now_us.saturating_sub(*at) < CRASH_WINDOW_US);
        crashes.push(now_us);
        if crashes.len() > MOST_CRASHES {
            let minutes = CRASH_WINDOW_US / 60_000_000;
            return Err(format!(
                "{} crashes within {minutes} minutes",
                crashes.len()
            ));
        }
        Ok(())
    }
}

type Descriptors = BTreeMap<RawFd, OwnedFd>;

impl Supervisor {
    fn around(&self, id: UnitId, own: &[(i32, Role)]) -> Around {
        let host = &self.host;
        let timers = Timer::ALL.into_iter();
        let timers = timers.filter_map(|timer| Some((timer, host.timers.at((id, timer))?)));
        let process = |&(pid, role): &(i32, Role)| Process {
            pid,
            role,
            pidfd: host.pidfds.get(&pid).map(|fd| fd.as_raw_fd()),
            report: host.reports.get(&pid).map(|(_, report)| {
                let (names, program) = report.parts();
                Report {
                    socket: report.socket.as_raw_fd(),
                    names,
                    program,
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
            held: group.and_then(|group| host.held.get(group)).cloned(),
        }
    }

    /// Mirrors one unit, if it has changed.
    pub(super) fn mirror_unit(&mut self, id: UnitId) {
        let own = self.host.reaper.iter();
        let own = own.filter(|(_, (owner, _))| *owner == id);
        let own: Vec<(i32, Role)> = own.map(|(pid, (_, role))| (pid, role)).collect();
        self.mirror_with(id, &own);
    }

    fn mirror_with(&mut self, id: UnitId, own: &[(i32, Role)]) {
        if self.mirrored.mirror.is_none() {
            return;
        }
        let around = self.around(id, own);
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

    /// Mirrors all that has changed. The first time a crash goes on from here.
    pub(crate) fn mirror(&mut self, watchdog: Option<RawFd>) {
        self.mirrored.watchdog = watchdog;
        let places = self.states.len().max(self.mirrored.seen.len());
        let mut processes: BTreeMap<UnitId, Vec<(i32, Role)>> = BTreeMap::new();
        for (pid, (id, role)) in self.host.reaper.iter() {
            processes.entry(id).or_default().push((pid, role));
        }
        for id in 0..places {
            let own = processes.remove(&id).unwrap_or_default();
            self.mirror_with(id, &own);
        }
        self.mirror_rest(Vec::new());
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
            removals: self.host.removals,
            idle: self.host.idle.as_ref().map(|idle| idle.as_raw_fd()),
            watchdog: self.mirrored.watchdog,
            crashes_us: self.mirrored.crashes_us.clone(),
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

    /// Goes on with what another image, or a supervisor before, has left.
    pub(crate) fn resume(config: &Config, state: State, fds: &mut Descriptors) -> Result<Self> {
        let State { units, rest } = state;
        let mut take = |number: Option<RawFd>| number.and_then(|number| fds.remove(&number));
        let (notify, control) = (take(rest.notify), take(rest.control));
        let mut supervisor = Self::open_with(config, notify, control)?;
        let host = &mut supervisor.host;
        (host.idle, host.emptiers, host.removals) = (take(rest.idle), rest.emptiers, rest.removals);
        host.cgroups.starting = rest.starting;
        supervisor.shutdown = rest.shutdown;
        supervisor.mirrored.crashes_us = rest.crashes_us;
        for (name, (state, _)) in &units {
            supervisor.load_again(name, state);
        }
        let mut jobs = Vec::new();
        for (name, (state, around)) in units {
            let Some(id) = supervisor.graph.id(&name) else {
                crate::error!("{name} is lost over the re-execution");
                continue;
            };
            jobs.extend(around.job.map(|job| (id, job)));
            supervisor.take_unit(id, state, around, fds);
        }
        let findings = supervisor.jobs.resume(jobs, &supervisor.graph);
        findings.iter().for_each(super::say);
        supervisor.take_clients(rest.clients, fds);
        let ids: Vec<UnitId> = supervisor.graph.units().map(|(id, _)| id).collect();
        for id in ids {
            supervisor.note_upheld(id, supervisor.phase(id));
        }
        // A crash may have come between what happened to a unit and what follows for its job.
        let jobs: Vec<(UnitId, Job)> = supervisor.jobs.iter().collect();
        for (id, _) in jobs.iter().filter(|(_, job)| job.running) {
            supervisor.settle_job(*id, supervisor.phase(*id));
        }
        // What has ended and changed meanwhile nobody tells of.
        supervisor.unreaped = true;
        supervisor.host.cgroups.unseen = true;
        Ok(supervisor)
    }

    /// A unit's files, or what it is without any: it must be there, as its processes are.
    fn load_again(&mut self, name: &str, state: &UnitState) {
        let transient = state.plan.is_some();
        let Ok(parsed) = UnitName::parse(name) else {
            return;
        };
        if !transient {
            match self.load(name) {
                Ok(_) => return,
                Err(message) => crate::error!("{name} cannot be loaded again: {message}"),
            }
        }
        let unit = if transient {
            super::super::request::transient(name)
        } else {
            Unit::new(name, parsed.kind)
        };
        if let Err(message) = self.graph.insert(unit) {
            crate::error!("{name}: {message}");
        }
        self.make_room();
    }

    fn take_unit(&mut self, id: UnitId, state: UnitState, around: Around, fds: &mut Descriptors) {
        let host = &mut self.host;
        for (timer, at_us) in around.timers {
            host.arm(id, timer, Some(at_us));
        }
        let handed: Vec<OwnedFd> = around
            .handed
            .iter()
            .filter_map(|fd| fds.remove(fd))
            .collect();
        if !handed.is_empty() {
            host.handed.insert(id, handed);
        }
        for kept in around.stored {
            let Some(fd) = fds.remove(&kept.fd) else {
                continue;
            };
            let name = Some(kept.name);
            let stored = host
                .stores
                .add(&host.events, id, u32::MAX, fd, name, kept.watched);
            if let Err(why) = stored {
                crate::warning!("a stored descriptor is lost: {why}");
            }
        }
        for (kind, number) in [(Shared::Network, around.network), (Shared::Ipc, around.ipc)] {
            if let Some(fd) = number.and_then(|number| fds.remove(&number)) {
                host.namespaces.entry(id).or_default().keep(kind, fd);
            }
        }
        if let Some((name, number)) = around.user {
            host.users.resume(id, name, number);
        }
        if let Some(group) = &state.cgroup {
            if let Some(filters) = around.held {
                host.held.insert(group.clone(), filters);
            }
            if let Err(cause) = host.cgroups.watch_again(group) {
                crate::debug!("{group}: {cause}; it is not watched");
            }
        }
        for process in around.processes {
            self.take_process(id, process, fds);
        }
        if let Some(place) = self.states.get_mut(id) {
            *place = state;
        }
    }

    fn take_process(&mut self, id: UnitId, process: Process, fds: &mut Descriptors) {
        let Process {
            pid,
            role,
            pidfd,
            report,
        } = process;
        let host = &mut self.host;
        host.reaper.register(pid, (id, role));
        if let Some(pidfd) = pidfd.and_then(|number| fds.remove(&number)) {
            // The end of a child the reaper sees; that of another process only this tells.
            if !reap::is_child(pid) {
                let named = Source::Named(pid.unsigned_abs());
                if let Err(cause) = host.events.add(&pidfd, named) {
                    crate::warning!("process {pid}: its end will not be seen: {cause}");
                }
            }
            host.pidfds.insert(pid, pidfd);
        }
        let Some(Report {
            socket,
            names,
            program,
        }) = report
        else {
            return;
        };
        if let Some(socket) = fds.remove(&socket) {
            let heard = host.events.add(&socket, Source::Exec(pid.unsigned_abs()));
            if let Err(cause) = heard {
                crate::warning!("process {pid}: its report cannot be heard: {cause}");
            }
            let report = ExecReport::again(socket, names, program);
            host.reports.insert(pid, (id, report));
        }
    }

    fn take_clients(&mut self, clients: Vec<ClientRecord>, fds: &mut Descriptors) {
        let accounts = node::accounts();
        let Some(control) = &mut self.control else {
            return;
        };
        for client in clients {
            if let Some(socket) = fds.remove(&client.socket) {
                let name_of = |uid| accounts.name_of(uid).map(String::from);
                control.take_again(&self.host.events, client, socket, name_of);
            }
        }
    }
}

impl Mirrored {
    fn append_unit(&mut self, id: UnitId) {
        let Some(seen) = self.seen.get(id).and_then(Option::as_ref) else {
            return;
        };
        let line = serde_json::to_vec(&Line::Unit(&seen.name, &seen.state, &seen.around));
        let Some(mirror) = &mut self.mirror else {
            return;
        };
        let written = line.map_err(std::io::Error::other);
        if let Err(cause) = written.and_then(|line| mirror.append(line)) {
            self.fail(&cause);
        }
    }
}

#[cfg(test)]
mod tests;
