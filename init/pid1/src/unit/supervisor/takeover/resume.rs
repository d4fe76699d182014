//! How the next image of PID 1 goes on: everything that the mirror names is taken over.

use std::os::fd::{OwnedFd, RawFd};

use spec_unit::graph::UnitId;
use spec_unit::name::{UnitName, UnitType};
use spec_unit::unit::Unit;

use super::super::super::devices::Devices;
use super::super::super::job::Job;
use super::super::super::spawn::{ExecReport, Shared};
use super::super::super::state::UnitState;
use super::super::super::supervise::Host as _;
use super::super::{Config, Supervisor, node, say};
use super::{Around, Descriptors, Process, Report, State};
use crate::error::Result;
use crate::event::Source;
use crate::protocol::ClientRecord;
use crate::reap;

impl Supervisor {
    /// Goes on with what another image, or a supervisor before, has left.
    pub(crate) fn resume(config: &Config, state: State, fds: &mut Descriptors) -> Result<Self> {
        let State {
            units,
            rest,
            devices,
        } = state;
        let mut take = |number: Option<RawFd>| number.and_then(|number| fds.remove(&number));
        let (notify, control) = (take(rest.notify), take(rest.control));
        let mut supervisor = Self::open_with(config, notify, control)?;
        let host = &mut supervisor.host;
        (host.idle, host.emptiers, host.removals) = (take(rest.idle), rest.emptiers, rest.removals);
        for (pid, (uid, name)) in rest.ipc_removers {
            host.keep_user(uid, name.clone());
            host.removers.again(pid, uid, name);
        }
        host.cgroups.starting = rest.starting;
        supervisor.host.devices = Devices::resume(devices);
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
        findings.iter().for_each(say);
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
        supervisor.forget_collected();
        supervisor.begin_pressure(rest.pressure);
        supervisor.mounts_changed();
        // What has ended and changed meanwhile nobody tells of.
        supervisor.unreaped = true;
        supervisor.host.cgroups.unseen = true;
        Ok(supervisor)
    }

    /// A crash may have come between a child's end and the mirror: a main process that was collected is nobody's child any
    /// more, and its number may be another's. Of one that ran no program yet its report tells.
    fn forget_collected(&mut self) {
        let mains: Vec<i32> = self.states.iter().filter_map(|state| state.main).collect();
        for pid in mains {
            let host = &self.host;
            let told = host.pidfds.contains_key(&pid) || host.reports.contains_key(&pid);
            if !told && !reap::is_child(pid) {
                self.alien_ended(pid);
            }
        }
    }

    /// A unit's files, or what it is without any: it must be there, as its processes are.
    fn load_again(&mut self, name: &str, state: &UnitState) {
        let is_plan = state.plan.is_some();
        let Ok(parsed) = UnitName::parse(name) else {
            return;
        };
        if !is_plan {
            match self.load(name) {
                Ok(_) => return,
                Err(message) => crate::error!("{name} cannot be loaded again: {message}"),
            }
        }
        let unit = match &state.plan {
            Some(plan) => self.transient_in(name, state.asked_by, &plan.cgroup.path),
            None => Unit::new(name, parsed.kind),
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
            if let Err((_, Some(why))) = stored {
                crate::warning!("a stored descriptor is lost: {why}");
            }
        }
        for (kind, number) in [(Shared::Network, around.network), (Shared::Ipc, around.ipc)] {
            if let Some(fd) = number.and_then(|number| fds.remove(&number)) {
                host.namespaces.entry(id).or_default().keep(kind, fd);
            }
        }
        if let Some(owner) = around.ipc_owner {
            host.ipc_owners.insert(id, owner);
        }
        if let Some((name, number)) = around.user {
            host.users.resume(id, name, number);
        }
        if let Some(group) = &state.cgroup {
            if let Some(filters) = around.held {
                host.held.insert(group.clone(), filters);
            }
            let kind = self.graph.unit(id).map(|unit| unit.kind);
            // A slice is down when it was told to stop, not when its last process has ended.
            if kind != Some(UnitType::Slice)
                && let Err(cause) = host.cgroups.watch_again(group)
            {
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
            program,
            ready,
        }) = report
        else {
            return;
        };
        if let Some(socket) = fds.remove(&socket) {
            let heard = Source::Exec(pid.unsigned_abs());
            let heard = host.events.add_hang_up(&socket, heard);
            if let Err(cause) = heard {
                crate::warning!("process {pid}: its report cannot be heard: {cause}");
            }
            let report = ExecReport::again(socket, program, ready);
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
