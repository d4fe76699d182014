//! What follows from the beginning and the end of processes.

use spec_unit::control::ExitStatus;
use spec_unit::directive::kill::KillMode;
use spec_unit::directive::service::ServiceType;

use super::super::state::{Outcome, Phase};
use super::{Machine, Role, describe};
use crate::log::Level;

impl Machine<'_> {
    /// Whether the service is up once its program runs. So is one of Type=simple whose other commands join namespaces
    /// that its main process makes.
    pub(super) fn waits_for_exec(&self) -> bool {
        let namespaces = &self.unit.service.namespaces;
        let joined = namespaces.network || namespaces.ipc;
        match self.kind() {
            ServiceType::Exec => true,
            ServiceType::Simple | ServiceType::Idle => joined,
            _ => false,
        }
    }

    /// The program of this process runs now.
    pub(crate) fn exec_done(&mut self, pid: i32) {
        if self.state.phase == Phase::Start && self.waits_for_exec() && self.state.main == Some(pid)
        {
            self.start_post();
        }
    }

    /// The program of this process could not be run; its end follows.
    pub(crate) fn exec_failed(&mut self, message: &str) {
        self.host.say(Level::Error, &self.unit.name, message);
        self.state.reason = Some(message.into());
    }

    /// The main process has ended.
    pub(crate) fn main_ended(&mut self, status: ExitStatus) {
        self.state.main = None;
        if self.follow_main() {
            return;
        }
        self.state.main_exit = Some(status);
        let oneshot = self.kind() == ServiceType::Oneshot;
        let number = if oneshot { self.state.command } else { 0 };
        let command = self.unit.service.exec.start.get(number);
        // A daemon is not what ExecStart= has run.
        let command = command.filter(|_| self.kind() != ServiceType::Forking);
        let ignored = command.is_some_and(|command| command.ignore_failure);
        let clean = ignored || self.unit.service.exit_status.is_clean(status, !oneshot);
        let outcome = match status {
            _ if clean => Outcome::Success,
            ExitStatus::Exited(_) => Outcome::ExitCode,
            ExitStatus::Signaled(_) => Outcome::Signal,
            ExitStatus::Dumped(_) => Outcome::CoreDump,
        };
        if !clean {
            let message = format!("main process ended: {}", describe(status));
            self.state.reason.get_or_insert(message);
        }
        self.main_over(outcome);
    }

    /// The main process, which was no child of ours, has ended. How, only its parent knows: it counts as well, as in
    /// systemd.
    pub(crate) fn main_gone(&mut self) {
        let message = "its main process has ended; not being our child, it does not say how";
        self.state.main = None;
        if self.follow_main() {
            return;
        }
        self.host.say(Level::Notice, &self.unit.name, message);
        self.main_over(Outcome::Success);
    }

    /// What follows from the end of the main process; with ExitType=cgroup nothing, as long as others are left.
    fn main_over(&mut self, outcome: Outcome) {
        if self.unit.service.kind.ends_with_group && self.is_left_in_group() {
            return self.blame(outcome);
        }
        let oneshot = self.kind() == ServiceType::Oneshot;
        match self.state.phase {
            Phase::Start if oneshot && outcome == Outcome::Success => {
                self.state.command += 1;
                self.allow(self.unit.service.timeout.start(true));
                match self.run(Role::Main) {
                    Some(Ok(())) => {}
                    Some(Err(refusal)) => self.fail_to_run(refusal, Role::Main),
                    None => self.start_post(),
                }
            }
            Phase::Start => self.ended_while_starting(outcome),
            Phase::Running | Phase::ReloadSignal | Phase::ReloadNotify => {
                self.blame(outcome);
                self.settle_up();
            }
            Phase::StartPost | Phase::Reload => {
                self.blame(outcome);
                if self.state.control.is_none() {
                    self.stop_step_first();
                }
            }
            _ => {
                self.blame(outcome);
                self.process_gone();
            }
        }
    }

    fn ended_while_starting(&mut self, outcome: Outcome) {
        match self.kind() {
            ServiceType::Oneshot => {
                self.blame(outcome);
                self.signal_all(Phase::StopSigterm);
            }
            ServiceType::Notify | ServiceType::NotifyReload => {
                if outcome == Outcome::Success {
                    self.state.reason = Some("main process ended before it said READY=1".into());
                    self.blame(Outcome::Protocol);
                }
                self.blame(outcome);
                self.signal_all(Phase::StopSigterm);
            }
            // It had named its main process before it had forked.
            ServiceType::Forking => {
                self.blame(outcome);
                if self.state.control.is_none() {
                    self.signal_all(Phase::StopSigterm);
                }
            }
            // The program ended before the loop saw that it had begun.
            ServiceType::Exec | ServiceType::Simple | ServiceType::Idle => {
                self.blame(outcome);
                if outcome == Outcome::Success {
                    self.start_post();
                } else {
                    self.stop_step_first();
                }
            }
        }
    }

    /// While stopping, one process is gone: on, if it was the last of the two.
    fn process_gone(&mut self) {
        if self.state.main.is_some() || self.state.control.is_some() {
            return;
        }
        match self.state.phase {
            Phase::StopWatchdog | Phase::StopSigterm | Phase::StopSigkill => self.stop_post(),
            Phase::FinalSigterm | Phase::FinalSigkill | Phase::Failed => self.group_empty(),
            _ => {}
        }
    }

    /// The process of another Exec line has ended.
    pub(crate) fn control_ended(&mut self, status: ExitStatus) {
        self.state.control = None;
        let ignored = self
            .commands()
            .get(self.state.command)
            .is_some_and(|command| command.ignore_failure);
        let clean = ignored || self.unit.service.exit_status.is_clean(status, false);
        let outcome = match status {
            _ if clean => Outcome::Success,
            ExitStatus::Exited(_) => Outcome::ExitCode,
            ExitStatus::Signaled(_) => Outcome::Signal,
            ExitStatus::Dumped(_) => Outcome::CoreDump,
        };
        let forking = self.kind() == ServiceType::Forking;
        self.forget_wait();
        if self.state.phase == Phase::Condition && !clean {
            return self.condition_ended(status, outcome);
        }
        if !clean && self.state.phase != Phase::Reload {
            self.state.reason.get_or_insert(format!(
                "{} command ended: {}",
                self.state.phase.word(),
                describe(status)
            ));
        }
        if clean {
            self.state.command += 1;
        }
        match self.state.phase {
            Phase::Condition | Phase::StartPre if clean => self.start_step(),
            Phase::Start if clean && forking => self.forked(),
            Phase::StartPost if clean => self.start_post_step(),
            Phase::Reload if clean => self.reload_step(),
            Phase::Stop if clean => self.stop_step(),
            Phase::StopPost if clean => self.stop_post_step(),
            Phase::Reload => {
                let message = format!("reload failed: {}", describe(status));
                self.host.say(Level::Warning, &self.unit.name, &message);
                self.settle_up();
            }
            Phase::Start if !forking => self.process_gone(),
            Phase::StartPre | Phase::Start | Phase::Stop => {
                self.blame(outcome);
                self.signal_all(Phase::StopSigterm);
            }
            Phase::StartPost => {
                self.blame(outcome);
                self.stop_step_first();
            }
            Phase::StopPost => {
                self.blame(outcome);
                self.signal_all(Phase::FinalSigterm);
            }
            _ => self.process_gone(),
        }
    }

    fn condition_ended(&mut self, status: ExitStatus, outcome: Outcome) {
        match status {
            ExitStatus::Exited(1..=254) => {
                self.state.reason = Some("ExecCondition= says to skip it".into());
                self.blame(Outcome::ExecCondition);
            }
            _ => {
                self.state.reason = Some(format!("ExecCondition= ended: {}", describe(status)));
                self.blame(outcome);
            }
        }
        self.signal_all(Phase::StopSigterm);
    }

    /// No process is left in the service's group.
    pub(crate) fn group_empty(&mut self) {
        let left = self.is_left_in_group();
        if self.state.main.is_some() || self.state.control.is_some() {
            return;
        }
        match self.state.phase {
            Phase::StopWatchdog | Phase::StopSigterm | Phase::StopSigkill if !left => {
                self.stop_post()
            }
            Phase::FinalSigterm | Phase::FinalSigkill if !left => self.down(true),
            Phase::FinalSigterm | Phase::FinalSigkill if !self.waits_for_group() => self.down(true),
            Phase::Start | Phase::StartPost if !left && self.kind() == ServiceType::Forking => {
                self.ended_without_main();
            }
            Phase::Start if !left && self.unit.service.kind.ends_with_group => {
                self.main_over(Outcome::Success);
            }
            Phase::Running if !left && self.runs_without_main() => self.main_over(Outcome::Success),
            Phase::Failed if self.state.left_behind && (!left || !self.empties_group()) => {
                self.come_back();
            }
            _ => {}
        }
    }

    fn waits_for_group(&self) -> bool {
        match self.unit.service.kill.mode {
            KillMode::ControlGroup => true,
            KillMode::Mixed => self.state.phase == Phase::FinalSigkill,
            KillMode::Process | KillMode::None => false,
        }
    }
}
