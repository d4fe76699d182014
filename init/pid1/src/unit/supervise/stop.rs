//! The way down: ExecStop=, signals, ExecStopPost=, and whether the service starts again.

use spec_unit::directive::directory::Preserve;
use spec_unit::directive::protect;
use spec_unit::directive::restart::{Restart, SHORT_RUN_US};
use spec_unit::directive::service::ServiceType;

use super::super::state::{Outcome, Phase};
use super::{Machine, Role, Timer};

impl Machine<'_> {
    /// Stops the service, because somebody asked.
    pub(crate) fn stop(&mut self) {
        self.state.told_to_stop = true;
        match self.state.phase {
            Phase::AutoRestart => {
                self.allow(u64::MAX);
                let end = if self.state.result.is_fine() {
                    Phase::Dead
                } else {
                    Phase::Failed
                };
                self.enter(end);
            }
            Phase::Active => self.enter(Phase::Dead),
            phase if phase.is_down() => {}
            Phase::Running
            | Phase::Exited
            | Phase::Reload
            | Phase::ReloadSignal
            | Phase::ReloadNotify => {
                if let Some(pid) = self.state.control {
                    self.host.signal(pid, libc::SIGKILL);
                }
                self.stop_step_first();
            }
            Phase::Condition | Phase::StartPre | Phase::Start | Phase::StartPost => {
                self.signal_all(Phase::StopSigterm);
            }
            // Already on its way down.
            _ => {}
        }
    }

    pub(super) fn stop_step_first(&mut self) {
        self.host.arm(self.id, Timer::Watchdog, None);
        self.host.arm(self.id, Timer::Runtime, None);
        self.enter(Phase::Stop);
        self.stop_step();
    }

    pub(super) fn stop_step(&mut self) {
        self.allow(self.unit.service.timeout.stop());
        match self.run(Role::Control) {
            Some(Ok(())) => {}
            Some(Err(refusal)) => self.fail_to_run(refusal, Role::Control),
            None => self.signal_all(Phase::StopSigterm),
        }
    }

    pub(super) fn stop_post(&mut self) {
        self.enter(Phase::StopPost);
        self.stop_post_step();
    }

    pub(super) fn stop_post_step(&mut self) {
        self.allow(self.unit.service.timeout.stop());
        match self.run(Role::Control) {
            Some(Ok(())) => {}
            Some(Err(refusal)) => self.fail_to_run(refusal, Role::Control),
            None => self.signal_all(Phase::FinalSigterm),
        }
    }

    /// Down: dead, failed, or waiting for the next start.
    pub(super) fn down(&mut self, may_restart: bool) {
        self.watch_memory();
        if self.state.ran_out_of_memory && self.state.result == Outcome::Signal {
            self.state.result = Outcome::OomKill;
        }
        let restart = may_restart && self.shall_restart();
        if restart && self.is_left_in_group() && self.empties_group() {
            return self.empty_group();
        }
        self.allow(u64::MAX);
        let preserve = self.unit.service.directories.preserve;
        if preserve == Preserve::Restart && (restart || self.state.restarting) {
            self.state
                .folders
                .retain(|path| protect::is_private_tmp(path));
        }
        self.host.clean(self.id, self.state);
        if let (ServiceType::Forking, Some(file)) = (self.kind(), &self.unit.service.kind.pid_file)
        {
            self.host.remove_pid_file(file);
        }
        if restart {
            let now = self.host.now_us();
            let lived = self
                .state
                .started_us
                .map_or(0, |started| now.saturating_sub(started));
            let crashes = if lived >= SHORT_RUN_US {
                0
            } else {
                self.state.crashes
            };
            let delay = self.unit.service.restart.delay_after(crashes);
            self.state.crashes = crashes.saturating_add(1);
            self.state.restarts = self.state.restarts.saturating_add(1);
            self.enter(Phase::AutoRestart);
            self.allow(delay);
            return;
        }
        let end = if self.state.result.is_fine() {
            Phase::Dead
        } else {
            Phase::Failed
        };
        self.enter(end);
    }

    /// What it was given up with is gone after all, as after a disk that answered nobody for a while.
    pub(super) fn come_back(&mut self) {
        self.state.left_behind = false;
        if self.shall_restart() {
            self.down(true);
        }
    }

    fn shall_restart(&self) -> bool {
        let service = &self.unit.service;
        if self.state.told_to_stop || self.state.start_limit_hit {
            return false;
        }
        if self
            .state
            .main_exit
            .is_some_and(|exit| service.exit_status.prevent_restart.has(exit))
        {
            return false;
        }
        if self
            .state
            .main_exit
            .is_some_and(|exit| service.exit_status.force_restart.has(exit))
        {
            return true;
        }
        let result = self.state.result;
        match service.restart.policy {
            Restart::No => false,
            Restart::Always => result != Outcome::ExecCondition,
            Restart::OnSuccess => result == Outcome::Success,
            Restart::OnFailure => !result.is_fine(),
            Restart::OnAbnormal => !result.is_fine() && result != Outcome::ExitCode,
            Restart::OnWatchdog => result == Outcome::Watchdog,
            Restart::OnAbort => matches!(result, Outcome::Signal | Outcome::CoreDump),
        }
    }
}
