//! What processes do: they begin, say something, end, and leave their control groups empty.

use std::os::fd::OwnedFd;

use spec_unit::control::{ExitStatus, ShutdownAction};
use spec_unit::directive::directory::Preserve;
use spec_unit::graph::UnitId;
use spec_unit::name::UnitType;

use super::super::spawn::ExecOutcome;
use super::super::state::{Phase, UnitState};
use super::super::store::Stored;
use super::super::supervise::{Host as _, Role};
use super::Supervisor;
use crate::cgroup::Changed;
use crate::notify::{Heard, Message, NotifySocket};
use crate::reap;

/// Messages heard in a turn, so that a talkative service takes turns with everything else.
pub(super) const BATCH: usize = 64;
/// How soon groups are looked at again that could not be read: 1 s.
const LOOK_AGAIN_US: u64 = 1_000_000;
/// After so many messages the processes that have ended wait for the next turn.
const MESSAGES: usize = 256;

impl Supervisor {
    pub(super) fn exec_report(&mut self, pid: i32) {
        let Some((id, mut report)) = self.host.reports.remove(&pid) else {
            return;
        };
        let outcome = report.outcome();
        let made = std::mem::take(&mut report.namespaces).into_iter();
        // Where the unit has ended meanwhile, they go with it.
        if let Some(kept) = self.host.namespaces.get_mut(&id) {
            made.for_each(|(kind, fd)| kept.keep(kind, fd));
        }
        if outcome == ExecOutcome::Pending {
            self.host.reports.insert(pid, (id, report));
            self.host.touched.insert(id);
            return;
        }
        self.host.events.remove(&report.socket);
        if outcome == ExecOutcome::Runs {
            crate::debug!("process {pid} executes {}", report.program());
        }
        self.with_machine(id, |machine| match outcome {
            ExecOutcome::Failed(message) => machine.exec_failed(&message),
            _ => machine.exec_done(pid),
        });
    }

    pub(super) fn take_signals(&mut self) {
        const FIRST: i32 = crate::sys::signal::SIGRTMIN;
        while let Some(signal) = self.host.events.signal() {
            match signal {
                libc::SIGCHLD => {}
                // As in systemd.
                libc::SIGTERM => self.reexecute = true,
                libc::SIGINT => self.begin_shutdown(ShutdownAction::Reboot),
                libc::SIGPWR => self.begin_shutdown(ShutdownAction::Poweroff),
                _ if signal == FIRST + 3 => self.begin_shutdown(ShutdownAction::Halt),
                _ if signal == FIRST + 4 => self.begin_shutdown(ShutdownAction::Poweroff),
                _ if signal == FIRST + 5 => self.begin_shutdown(ShutdownAction::Reboot),
                other => crate::notice!("signal {other} means nothing here"),
            }
        }
        self.reap(reap::ended);
    }

    /// Collects the processes that have ended, each after what it said last was heard. Of many a part, and the rest
    /// in the next turn: the kernel tells of any number of ends by one signal.
    pub(super) fn reap(&mut self, mut ended: impl FnMut() -> Option<i32>) {
        self.unreaped = true;
        let mut heard = 0;
        for _ in 0..reap::BATCH {
            let Some(pid) = ended() else {
                self.unreaped = false;
                return;
            };
            heard += self.bury(pid);
            if heard >= MESSAGES {
                return;
            }
        }
    }

    /// Hears a process that has ended for the last time and collects it; how many messages that took.
    pub(super) fn bury(&mut self, pid: i32) -> usize {
        let heard = self.hear_all();
        let status = reap::collect(pid);
        self.exec_report(pid);
        self.host.process_gone(pid);
        self.host.closing.ended(pid);
        if let Some(left) = status.and_then(|status| self.host.emptier_ended(pid, status)) {
            crate::warning!("{left}");
        }
        if let (Some((id, role)), Some(status)) = (self.host.reaper.forget(pid), status) {
            self.ended(pid, id, role, status);
        }
        heard
    }

    fn ended(&mut self, pid: i32, id: UnitId, role: Role, status: ExitStatus) {
        if self.is_kind(id, UnitType::Mount) {
            return self.mount_child_ended(id, status);
        }
        self.with_machine(id, |machine| machine.memory_changed());
        let Some(state) = self.states.get(id) else {
            return;
        };
        let (main, control) = (state.main == Some(pid), state.control == Some(pid));
        self.with_machine(id, |machine| match role {
            Role::Main if main => machine.main_ended(status),
            Role::Control if control => machine.control_ended(status),
            // A process that is no longer what it was made as.
            _ => {}
        });
    }

    /// A process named as a main one has ended. A child of ours is left to the reaper, who learns how.
    pub(super) fn named_ended(&mut self, pid: i32) {
        self.host.unwatch(pid);
        if !reap::is_child(pid) {
            self.hear_all();
            self.alien_ended(pid);
        }
    }

    /// A main process that is not our child has ended.
    pub(super) fn alien_ended(&mut self, pid: i32) {
        self.host.process_gone(pid);
        let Some((id, _)) = self.host.reaper.forget(pid) else {
            return;
        };
        if self
            .states
            .get(id)
            .is_some_and(|state| state.main == Some(pid))
        {
            self.with_machine(id, |machine| machine.main_gone());
        }
    }

    /// Takes in all that services have said until now; how many messages.
    pub(super) fn hear_all(&mut self) -> usize {
        let socket = self.notify.as_ref();
        self.hear(socket.map_or(0, NotifySocket::most_waiting))
    }

    /// Takes in what services have said, at most so many messages; how many.
    pub(super) fn hear(&mut self, most: usize) -> usize {
        (0..most).take_while(|_| self.hear_one()).count()
    }

    /// Takes in the next message; whether there was one.
    fn hear_one(&mut self) -> bool {
        let Heard { pid, message, fds } = match self.notify.as_ref().map(|socket| socket.receive())
        {
            Some(Ok(Some(received))) => received,
            Some(Err(cause)) => {
                crate::warning!("notify socket: {cause}");
                return false;
            }
            None | Some(Ok(None)) => return false,
        };
        let Some(id) = self.unit_of(pid) else {
            crate::debug!("process {pid} belongs to no unit; its message is dropped");
            self.close(fds);
            return true;
        };
        let heard = self
            .with_machine(id, |machine| machine.hears(pid))
            .unwrap_or(false);
        if !heard {
            let unit = self.name_of(id);
            crate::debug!("{unit}: process {pid} may not speak for it (NotifyAccess=)");
            self.close(fds);
            return true;
        }
        let told = |state: &UnitState| (state.main, state.status_text.clone());
        let last = self.states.get(id).map(told);
        if let Some(main) = message.main_pid {
            self.new_main(id, main);
        }
        self.store(id, &message, fds);
        let before = self.phase(id);
        self.with_machine(id, |machine| machine.notified(&message));
        if before == Phase::Running && self.phase(id) == Phase::ReloadNotify {
            self.propagate_reload(id);
        }
        if self.states.get(id).map(told) != last {
            self.announce(id);
        }
        true
    }

    /// FDSTORE=1 and FDSTOREREMOVE=1.
    fn store(&mut self, id: UnitId, message: &Message, fds: Vec<OwnedFd>) {
        let unit = self.graph.unit(id);
        let most = unit.map_or(0, |unit| unit.service.notify.store_max);
        let mut left = Vec::new();
        if let (true, Some(name)) = (message.remove_stored, &message.fd_name) {
            left = self.host.stores.remove(&self.host.events, id, name);
        }
        let mut refused = None;
        for fd in fds {
            if !message.store || refused.is_some() {
                left.push(fd);
                continue;
            }
            let (name, watched) = (message.fd_name.clone(), !message.keep_ended);
            let events = &self.host.events;
            if let Err((fd, why)) = self.host.stores.add(events, id, most, fd, name, watched) {
                left.push(fd);
                refused = why;
            }
        }
        self.close(left);
        if let Some(why) = refused {
            self.complain(id, &why);
        }
    }

    /// Closes descriptors that came from others.
    pub(crate) fn close(&mut self, fds: impl IntoIterator<Item = OwnedFd>) {
        self.host.closing.close(fds);
    }

    /// A stored descriptor is hung up or broken.
    pub(super) fn stored_ended(&mut self, number: u32) {
        if let Some((id, stored)) = self.host.stores.ended(&self.host.events, number) {
            let Stored { name, fd, .. } = stored;
            self.close([fd]);
            self.host.touched.insert(id);
            let unit = self.name_of(id);
            crate::debug!("{unit}: stored descriptor {name} has ended and is dropped");
        }
    }

    /// A unit is down: what it has stored is dropped, unless it is kept (FileDescriptorStorePreserve=).
    pub(super) fn release_stored(&mut self, id: UnitId) {
        let preserve = self
            .graph
            .unit(id)
            .map(|unit| unit.service.notify.preserve());
        let phase = self.phase(id);
        let drops = match preserve {
            Some(Preserve::Yes) => false,
            Some(Preserve::No) => phase.is_down(),
            _ => matches!(phase, Phase::Dead | Phase::Failed) && self.jobs.get(id).is_none(),
        };
        if drops {
            let left = self.host.stores.release(&self.host.events, id);
            self.close(left);
        }
    }

    pub(super) fn name_of(&self, id: UnitId) -> &str {
        self.graph
            .unit(id)
            .map(|unit| unit.name.as_str())
            .unwrap_or_default()
    }

    /// The unit of a process: as registered, or by its control group.
    pub(super) fn unit_of(&self, pid: i32) -> Option<UnitId> {
        if let Some((id, _)) = self.host.reaper.owner(pid) {
            return Some(id);
        }
        let group = self.host.cgroups.of_process(pid)?;
        self.owner_of(&group)
    }

    /// The unit that a group is of, its own or one below that.
    pub(super) fn owner_of(&self, group: &str) -> Option<UnitId> {
        let within = |own: &str| {
            group
                .strip_prefix(own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // A unit's group is in that of its slice.
        let owners = self.states.iter().enumerate();
        let owners = owners.filter_map(|(id, state)| Some((id, state.cgroup.as_deref()?)));
        owners
            .filter(|(_, own)| within(own))
            .max_by_key(|(_, own)| own.len())
            .map(|(id, _)| id)
    }

    /// A service names its main process, which must be one of its own.
    pub(super) fn new_main(&mut self, id: UnitId, pid: i32) {
        let Some(state) = self.states.get(id) else {
            return;
        };
        let (old, control) = (state.main, state.control);
        if old == Some(pid) {
            return;
        }
        if self.unit_of(pid) != Some(id) || control == Some(pid) {
            let why = format!("MAINPID={pid} is not one of its processes; ignored");
            return self.complain(id, &why);
        }
        if let Err(cause) = self.host.adopt(pid, id) {
            return self.complain(id, &format!("MAINPID={pid}: {cause}; ignored"));
        }
        if let Some(old) = old {
            self.exec_report(old);
            self.host.reaper.forget(old);
            self.host.process_gone(old);
        }
        self.host.touched.insert(id);
        if let Some(state) = self.states.get_mut(id) {
            state.main = Some(pid);
            state.main_unknown = false;
        }
    }

    /// Groups could not be read or killed, as when PID 1 may open no more files: it takes its due again, and looks at
    /// all of them a second later. Else what changed then would never be told.
    pub(super) fn look_again_if_due(&mut self) {
        let now = self.host.now_us();
        if self.host.cgroups.unknown.take() {
            super::super::host::raise_open_files();
            self.look_again_us
                .get_or_insert(now.saturating_add(LOOK_AGAIN_US));
        }
        if self.look_again_us.is_some_and(|at| at <= now) {
            self.look_again_us = None;
            self.host.cgroups.unseen = true;
        }
    }

    pub(super) fn groups_changed(&mut self) {
        let again = self.host.cgroups.unseen;
        for Changed { group, memory } in self.host.cgroups.changed() {
            let Some(id) = self
                .states
                .iter()
                .position(|state| state.cgroup.as_deref() == Some(&group))
            else {
                continue;
            };
            let populated = self.host.cgroups.populated(&group);
            // Why a run has ended is asked before its end is told.
            if memory || !populated {
                self.with_machine(id, |machine| machine.memory_changed());
            }
            if populated {
                if again && self.phase(id).kills() {
                    self.host.signal_group(&group, libc::SIGKILL);
                }
                continue;
            }
            if let (true, Some(state)) = (self.phase(id).is_down(), self.states.get_mut(id)) {
                self.host.clean(id, state);
            }
            self.with_machine(id, |machine| machine.group_empty());
        }
    }
}
