//! What processes do: they begin, say something, end, and leave their control groups empty.

use spec_unit::control::{ExitStatus, ShutdownAction};
use spec_unit::graph::UnitId;

use super::super::spawn::ExecOutcome;
use super::super::supervise::{Host as _, Role};
use super::Supervisor;

/// Most messages of one kind taken per turn.
const BATCH: usize = 64;

impl Supervisor {
    pub(super) fn exec_report(&mut self, pid: i32) {
        let Some((id, mut report)) = self.host.reports.remove(&pid) else {
            return;
        };
        let outcome = report.outcome();
        if outcome == ExecOutcome::Pending {
            self.host.reports.insert(pid, (id, report));
            return;
        }
        self.host.events.remove(&report.pipe);
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
                libc::SIGINT => self.begin_shutdown(ShutdownAction::Reboot),
                libc::SIGPWR => self.begin_shutdown(ShutdownAction::Poweroff),
                _ if signal == FIRST + 3 => self.begin_shutdown(ShutdownAction::Halt),
                _ if signal == FIRST + 4 => self.begin_shutdown(ShutdownAction::Poweroff),
                _ if signal == FIRST + 5 => self.begin_shutdown(ShutdownAction::Reboot),
                other => crate::notice!("signal {other} means nothing here"),
            }
        }
        self.reap();
    }

    fn reap(&mut self) {
        loop {
            let (ended, more) = self.host.reaper.reap();
            for (pid, (id, role), status) in ended {
                self.ended(pid, id, role, status);
            }
            if !more {
                return;
            }
        }
    }

    fn ended(&mut self, pid: i32, id: UnitId, role: Role, status: ExitStatus) {
        if self.host.reports.contains_key(&pid) {
            self.exec_report(pid);
        }
        self.host.process_gone(pid);
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

    /// Takes in what services say.
    pub(super) fn hear(&mut self) {
        for _ in 0..BATCH {
            let received = match &self.notify {
                Some(socket) => socket.receive(),
                None => return,
            };
            let (pid, message) = match received {
                Ok(Some(received)) => received,
                Ok(None) => return,
                Err(cause) => return crate::warning!("notify socket: {cause}"),
            };
            let Some(id) = self.unit_of(pid) else {
                crate::debug!("process {pid} belongs to no unit; its message is dropped");
                continue;
            };
            let heard = self
                .with_machine(id, |machine| machine.hears(pid))
                .unwrap_or(false);
            if !heard {
                let unit = self
                    .graph
                    .unit(id)
                    .map(|unit| unit.name.as_str())
                    .unwrap_or_default();
                crate::debug!("{unit}: process {pid} may not speak for it (NotifyAccess=)");
                continue;
            }
            if let Some(main) = message.main_pid {
                self.new_main(id, main);
            }
            self.with_machine(id, |machine| machine.notified(&message));
            self.announce(id);
        }
    }

    /// The unit of a process: as registered, or by its control group.
    fn unit_of(&self, pid: i32) -> Option<UnitId> {
        if let Some((id, _)) = self.host.reaper.owner(pid) {
            return Some(id);
        }
        let group = self.host.cgroups.of_process(pid)?;
        let within = |own: &str| {
            group
                .strip_prefix(own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.states
            .iter()
            .position(|state| state.cgroup.as_deref().is_some_and(within))
    }

    /// A service names its main process, which must be one of its own.
    fn new_main(&mut self, id: UnitId, pid: i32) {
        let old = self.states.get(id).and_then(|state| state.main);
        if old == Some(pid) {
            return;
        }
        if self.unit_of(pid) != Some(id) {
            let unit = self
                .graph
                .unit(id)
                .map(|unit| unit.name.as_str())
                .unwrap_or_default();
            return crate::warning!("{unit}: MAINPID={pid} is not one of its processes; ignored");
        }
        if let Some(old) = old {
            self.host.reaper.forget(old);
        }
        let ended = self.host.adopt(pid, id);
        if let Some(state) = self.states.get_mut(id) {
            state.main = Some(pid);
        }
        if let Some(status) = ended {
            self.ended(pid, id, Role::Main, status);
        }
    }

    pub(super) fn groups_changed(&mut self) {
        for group in self.host.cgroups.changed() {
            if self.host.cgroups.populated(&group) {
                continue;
            }
            let Some(id) = self
                .states
                .iter()
                .position(|state| state.cgroup.as_deref() == Some(&group))
            else {
                continue;
            };
            if self.phase(id).is_down() {
                if let Some(state) = self.states.get_mut(id) {
                    self.host.clean(state);
                }
            } else {
                self.with_machine(id, |machine| machine.group_empty());
            }
        }
    }
}
