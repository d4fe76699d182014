//! Ending the processes of a service, systemd.kill(5).

use spec_unit::directive::kill::KillMode;

use super::super::state::Phase;
use super::{Host, Machine, Timer};

impl Machine<'_> {
    /// Sends the signal of one of the stopping phases; goes straight on where nothing is left to wait for.
    pub(super) fn signal_all(&mut self, phase: Phase) {
        self.host.arm(self.id, Timer::Watchdog, None);
        self.host.arm(self.id, Timer::Runtime, None);
        self.host.arm(self.id, Timer::PidFile, None);
        self.enter(phase);
        let timeout = &self.unit.service.timeout;
        let span = if phase == Phase::StopWatchdog {
            timeout.abort()
        } else {
            timeout.stop()
        };
        if self.send_signals() {
            self.allow(span);
            return;
        }
        match phase {
            Phase::StopSigterm | Phase::StopWatchdog if self.unit.service.kill.send_sigkill => {
                self.signal_all(Phase::StopSigkill);
            }
            Phase::StopSigterm | Phase::StopWatchdog | Phase::StopSigkill => self.stop_post(),
            Phase::FinalSigterm if self.unit.service.kill.send_sigkill => {
                self.signal_all(Phase::FinalSigkill)
            }
            _ => self.down(true),
        }
    }

    /// Whether KillMode= leaves no process behind.
    pub(super) fn empties_group(&self) -> bool {
        matches!(
            self.unit.service.kill.mode,
            KillMode::ControlGroup | KillMode::Mixed
        )
    }

    /// Before a restart: two runs of a service never share a group. If the wait is in vain, the restart is put off until
    /// the group is empty ([`Machine::come_back`]).
    pub(super) fn empty_group(&mut self) {
        if self.unit.service.kill.send_sigkill {
            return self.signal_all(Phase::FinalSigkill);
        }
        self.enter(Phase::FinalSigterm);
        self.allow(self.unit.service.timeout.stop());
    }

    /// Whether there is a process whose end must be waited for.
    fn send_signals(&mut self) -> bool {
        let kill = &self.unit.service.kill;
        let last = matches!(self.state.phase, Phase::StopSigkill | Phase::FinalSigkill);
        let signal = match self.state.phase {
            Phase::StopWatchdog => kill.watchdog_signal,
            _ if last => kill.final_signal,
            _ if self.state.restarting => kill.restart_signal.unwrap_or(kill.signal),
            _ => kill.signal,
        };
        let own: Vec<i32> = self
            .state
            .main
            .into_iter()
            .chain(self.state.control)
            .collect();
        if kill.mode == KillMode::None {
            return false;
        }
        let whole = kill.mode == KillMode::ControlGroup || (kill.mode == KillMode::Mixed && last);
        if let (false, Some(group)) = (last, &self.state.cgroup) {
            self.host.thaw(group);
        }
        let mut waits = !own.is_empty();
        if let (true, Some(group)) = (whole, self.state.cgroup.clone()) {
            waits |= self.host.signal_group(&group, signal) > 0;
            if !last {
                self.also(|host, signal| {
                    host.signal_group(&group, signal);
                });
            }
            // One that was born meanwhile is in no list, but in the kernel's count.
            return waits || self.host.populated(&group);
        }
        for pid in own {
            self.host.signal(pid, signal);
            if !last {
                self.also(|host, signal| host.signal(pid, signal));
            }
        }
        waits
    }

    /// A stopped process must go on in order to end; some want to hear SIGHUP too.
    fn also(&mut self, mut send: impl FnMut(&mut dyn Host, i32)) {
        send(self.host, libc::SIGCONT);
        if self.unit.service.kill.send_sighup {
            send(self.host, libc::SIGHUP);
        }
    }
}
