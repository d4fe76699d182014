//! The life of a service: what follows from each event, in systemd's words and order.
//!
//! A [`Machine`] is a service's settings, its state and the [`Host`] it acts through. It decides; the host does. It
//! never waits: each function moves the service to its next phase and returns. Tests give it a host that writes down.
//!
//! Source: systemd.service(5), systemd.kill(5), sd_notify(3).

use spec_unit::control::ExitStatus;
use spec_unit::directive::directory::Preserve;
use spec_unit::directive::exec::Command;
use spec_unit::directive::kill::KillMode;
use spec_unit::directive::restart::{Restart, SHORT_RUN_US};
use spec_unit::directive::service::ServiceType;
use spec_unit::graph::UnitId;
use spec_unit::unit::Unit;
use spec_unit::value::signal_name;

use super::state::{Outcome, Phase, UnitState};
use crate::log::Level;

/// What a process is to its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// ExecStart=.
    Main,
    /// Any other Exec line.
    Control,
}

/// The clocks of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The phase has taken too long, or the restart is due.
    Phase,
    /// The service should have said WATCHDOG=1.
    Watchdog,
    /// The service has run for too long.
    Runtime,
}

/// What a service acts through.
pub(crate) trait Host {
    /// Microseconds of CLOCK_MONOTONIC.
    fn now_us(&self) -> u64;
    /// Makes a process of the service; of its transient plan, where no command is given.
    fn spawn(&mut self, service: &mut Spawn<'_>) -> Result<i32, String>;
    /// Signals one process.
    fn signal(&mut self, pid: i32, signal: i32);
    /// Signals every process in the group; how many there were.
    fn signal_group(&mut self, group: &str, signal: i32) -> usize;
    /// Whether a process is in the group.
    fn populated(&self, group: &str) -> bool;
    /// Whether the kernel killed a process in it for want of memory.
    fn ran_out_of_memory(&self, group: &str) -> bool;
    /// Removes the group and folders of a service that has stopped.
    fn clean(&mut self, state: &mut UnitState);
    /// Sets or stops a clock.
    fn arm(&mut self, id: UnitId, timer: Timer, at_us: Option<u64>);
    /// Says something about the unit.
    fn say(&mut self, level: Level, unit: &str, message: &str);
}

/// What is needed to make a process.
pub(crate) struct Spawn<'a> {
    /// The unit's place.
    pub(crate) id: UnitId,
    /// The unit.
    pub(crate) unit: &'a Unit,
    /// Its state.
    pub(crate) state: &'a mut UnitState,
    /// The command.
    pub(crate) command: Option<&'a Command>,
    /// What it is to the service.
    pub(crate) role: Role,
}

/// A service at work.
pub(crate) struct Machine<'a> {
    /// The unit's place.
    pub(crate) id: UnitId,
    /// The unit.
    pub(crate) unit: &'a Unit,
    /// Its state.
    pub(crate) state: &'a mut UnitState,
    /// What it acts through.
    pub(crate) host: &'a mut dyn Host,
}

impl Machine<'_> {
    fn kind(&self) -> ServiceType {
        if self.state.plan.is_some() {
            return ServiceType::Exec;
        }
        let service = &self.unit.service;
        service.kind.kind(!service.exec.start.is_empty())
    }

    fn enter(&mut self, phase: Phase) {
        self.state.phase = phase;
        self.state.command = 0;
    }

    /// Starts the phase's clock; [`u64::MAX`] is never.
    fn allow(&mut self, span_us: u64) {
        let at = if span_us == u64::MAX {
            None
        } else {
            Some(self.host.now_us().saturating_add(span_us))
        };
        self.state.deadline_us = at;
        self.host.arm(self.id, Timer::Phase, at);
    }

    /// The first failure is the one that counts.
    fn blame(&mut self, outcome: Outcome) {
        if self.state.result == Outcome::Success {
            self.state.result = outcome;
        }
    }

    fn commands(&self) -> &[Command] {
        let exec = &self.unit.service.exec;
        match self.state.phase {
            Phase::Condition => &exec.condition,
            Phase::StartPre => &exec.start_pre,
            Phase::Start => &exec.start,
            Phase::StartPost => &exec.start_post,
            Phase::Reload => &exec.reload,
            Phase::Stop => &exec.stop,
            Phase::StopPost => &exec.stop_post,
            _ => &[],
        }
    }

    /// Runs the phase's next command, if there is one.
    fn run(&mut self, role: Role) -> Option<Result<(), String>> {
        let transient = self.state.plan.is_some() && role == Role::Main;
        let command = self.commands().get(self.state.command).cloned();
        if command.is_none() && !(transient && self.state.command == 0) {
            return None;
        }
        let mut spawn = Spawn {
            id: self.id,
            unit: self.unit,
            state: self.state,
            command: command.as_ref(),
            role,
        };
        Some(self.host.spawn(&mut spawn).map(|pid| match role {
            Role::Main => self.state.main = Some(pid),
            Role::Control => self.state.control = Some(pid),
        }))
    }

    /// Whether a process is in the service's group.
    fn is_left_in_group(&self) -> bool {
        let group = self.state.cgroup.as_deref();
        group.is_some_and(|group| self.host.populated(group))
    }

    /// Starts the service; `automatic` is a restart by Restart=.
    pub(crate) fn begin(&mut self, automatic: bool) {
        if self.is_left_in_group() {
            let message =
                "starts beside processes of its last run, which are still in its control group";
            self.host.say(Level::Warning, &self.unit.name, message);
        }
        let now = self.host.now_us();
        let limit = &self.unit.start_limit;
        self.state
            .starts_us
            .retain(|start| now.saturating_sub(*start) < limit.interval_us);
        if limit.interval_us > 0
            && limit.burst > 0
            && self.state.starts_us.len() >= limit.burst as usize
        {
            self.state.reason = Some(format!(
                "started {} times within {} s",
                limit.burst,
                limit.interval_us / 1_000_000
            ));
            self.state.result = Outcome::StartLimitHit;
            self.enter(Phase::Failed);
            return;
        }
        if limit.interval_us > 0 && limit.burst > 0 {
            self.state.starts_us.push(now);
        }
        if !automatic {
            (self.state.restarts, self.state.crashes) = (0, 0);
        }
        self.state.result = Outcome::Success;
        self.state.told_to_stop = false;
        self.state.restarting = false;
        self.state.said_reloading = false;
        (
            self.state.reason,
            self.state.status_text,
            self.state.main_exit,
        ) = (None, None, None);
        (
            self.state.watchdog_us,
            self.state.started_us,
            self.state.invocation,
        ) = (None, None, None);
        self.enter(Phase::Condition);
        self.start_step();
    }

    /// Runs ExecCondition= and ExecStartPre= one after the other, then ExecStart=.
    fn start_step(&mut self) {
        let oneshot = self.kind() == ServiceType::Oneshot;
        self.allow(self.unit.service.timeout.start(oneshot));
        match self.run(Role::Control) {
            Some(Ok(())) => {}
            Some(Err(message)) => self.fail_to_run(message),
            None if self.state.phase == Phase::Condition => {
                self.enter(Phase::StartPre);
                self.start_step();
            }
            None => self.start_main(),
        }
    }

    fn fail_to_run(&mut self, message: String) {
        self.host.say(Level::Error, &self.unit.name, &message);
        self.state.reason = Some(message);
        self.blame(Outcome::Resources);
        self.signal_all(Phase::StopSigterm);
    }

    fn start_main(&mut self) {
        self.enter(Phase::Start);
        self.state.started_us = Some(self.host.now_us());
        match (self.run(Role::Main), self.kind()) {
            (Some(Err(message)), _) => self.fail_to_run(message),
            (None, _) | (Some(Ok(())), ServiceType::Simple) => self.start_post(),
            (Some(Ok(())), _) => {}
        }
    }

    fn start_post(&mut self) {
        self.enter(Phase::StartPost);
        self.feed_watchdog();
        self.start_post_step();
    }

    fn start_post_step(&mut self) {
        self.allow(
            self.unit
                .service
                .timeout
                .start(self.kind() == ServiceType::Oneshot),
        );
        match self.run(Role::Control) {
            Some(Ok(())) => {}
            Some(Err(message)) => self.fail_to_run(message),
            None => {
                if let Some(span) = self
                    .unit
                    .service
                    .timeout
                    .runtime_us
                    .filter(|span| *span != u64::MAX)
                {
                    let at = self.host.now_us().saturating_add(span);
                    self.host.arm(self.id, Timer::Runtime, Some(at));
                }
                self.settle_up();
            }
        }
    }

    /// Up: running, or exited and counted as active, or about to go down.
    fn settle_up(&mut self) {
        self.allow(u64::MAX);
        if self.state.main.is_some() {
            self.enter(Phase::Running);
        } else if self.state.result == Outcome::Success && self.unit.service.kind.remain_after_exit
        {
            self.enter(Phase::Exited);
        } else {
            self.stop_step_first();
        }
    }

    fn feed_watchdog(&mut self) {
        let span = self
            .state
            .watchdog_us
            .unwrap_or(self.unit.service.notify.watchdog_us);
        let at = (span > 0 && span != u64::MAX).then(|| self.host.now_us().saturating_add(span));
        self.host.arm(self.id, Timer::Watchdog, at);
    }

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
            Phase::Running | Phase::Exited | Phase::Reload => {
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

    fn stop_step_first(&mut self) {
        self.host.arm(self.id, Timer::Watchdog, None);
        self.host.arm(self.id, Timer::Runtime, None);
        self.enter(Phase::Stop);
        self.stop_step();
    }

    fn stop_step(&mut self) {
        self.allow(self.unit.service.timeout.stop());
        match self.run(Role::Control) {
            Some(Ok(())) => {}
            Some(Err(message)) => self.fail_to_run(message),
            None => self.signal_all(Phase::StopSigterm),
        }
    }

    /// Runs ExecReload=.
    pub(crate) fn reload(&mut self) -> Result<(), String> {
        if self.state.phase != Phase::Running && self.state.phase != Phase::Exited {
            return Err(format!(
                "{} is {}: only a running service can reload",
                self.unit.name,
                self.state.phase.word()
            ));
        }
        if self.unit.service.exec.reload.is_empty() {
            return Err(format!("{} has no ExecReload=", self.unit.name));
        }
        self.enter(Phase::Reload);
        self.reload_step();
        Ok(())
    }

    fn reload_step(&mut self) {
        self.allow(self.unit.service.timeout.start(false));
        match self.run(Role::Control) {
            Some(Ok(())) => {}
            Some(Err(message)) => {
                self.host.say(Level::Error, &self.unit.name, &message);
                self.settle_up();
            }
            None => self.settle_up(),
        }
    }

    fn stop_post(&mut self) {
        self.enter(Phase::StopPost);
        self.stop_post_step();
    }

    fn stop_post_step(&mut self) {
        self.allow(self.unit.service.timeout.stop());
        match self.run(Role::Control) {
            Some(Ok(())) => {}
            Some(Err(message)) => {
                self.host.say(Level::Error, &self.unit.name, &message);
                self.blame(Outcome::Resources);
                self.signal_all(Phase::FinalSigterm);
            }
            None => self.signal_all(Phase::FinalSigterm),
        }
    }

    /// Down: dead, failed, or waiting for the next start.
    fn down(&mut self, may_restart: bool) {
        let ran_out = self
            .state
            .cgroup
            .as_deref()
            .is_some_and(|group| self.host.ran_out_of_memory(group));
        if ran_out && self.state.result == Outcome::Signal {
            self.state.result = Outcome::OomKill;
        }
        let restart = may_restart && self.shall_restart();
        if restart && self.is_left_in_group() && self.empties_group() {
            return self.empty_group();
        }
        self.allow(u64::MAX);
        let preserve = self.unit.service.directories.preserve;
        if preserve == Preserve::Restart && (restart || self.state.restarting) {
            self.state.folders.clear();
        }
        self.host.clean(self.state);
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

    fn shall_restart(&self) -> bool {
        let service = &self.unit.service;
        if self.state.told_to_stop || self.state.result == Outcome::StartLimitHit {
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
            Restart::OnAbort => matches!(result, Outcome::Signal | Outcome::OomKill),
        }
    }

    /// The program of this process runs now.
    pub(crate) fn exec_done(&mut self, pid: i32) {
        if self.state.phase == Phase::Start
            && self.kind() == ServiceType::Exec
            && self.state.main == Some(pid)
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
        self.state.main_exit = Some(status);
        let oneshot = self.kind() == ServiceType::Oneshot;
        let command =
            self.unit
                .service
                .exec
                .start
                .get(if oneshot { self.state.command } else { 0 });
        let ignored = command.is_some_and(|command| command.ignore_failure);
        let clean = ignored || self.unit.service.exit_status.is_clean(status, !oneshot);
        let outcome = match status {
            _ if clean => Outcome::Success,
            ExitStatus::Exited(_) => Outcome::ExitCode,
            ExitStatus::Signaled(_) => Outcome::Signal,
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
        self.host.say(Level::Notice, &self.unit.name, message);
        self.state.main = None;
        self.main_over(Outcome::Success);
    }

    /// What follows from the end of the main process.
    fn main_over(&mut self, outcome: Outcome) {
        let oneshot = self.kind() == ServiceType::Oneshot;
        match self.state.phase {
            Phase::Start if oneshot && outcome == Outcome::Success => {
                self.state.command += 1;
                self.allow(self.unit.service.timeout.start(true));
                match self.run(Role::Main) {
                    Some(Ok(())) => {}
                    Some(Err(message)) => self.fail_to_run(message),
                    None => self.start_post(),
                }
            }
            Phase::Start => self.ended_while_starting(outcome),
            Phase::Running => {
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
            ServiceType::Notify => {
                if outcome == Outcome::Success {
                    self.state.reason = Some("main process ended before it said READY=1".into());
                    self.blame(Outcome::Protocol);
                }
                self.blame(outcome);
                self.signal_all(Phase::StopSigterm);
            }
            // The program ended before the loop saw that it had begun.
            ServiceType::Exec | ServiceType::Simple => {
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
            Phase::FinalSigterm | Phase::FinalSigkill => self.group_empty(),
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
        };
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
            Phase::StartPost if clean => self.start_post_step(),
            Phase::Reload if clean => self.reload_step(),
            Phase::Stop if clean => self.stop_step(),
            Phase::StopPost if clean => self.stop_post_step(),
            Phase::Reload => {
                let message = format!("reload failed: {}", describe(status));
                self.host.say(Level::Warning, &self.unit.name, &message);
                self.settle_up();
            }
            Phase::StartPre | Phase::Stop => {
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

    /// A clock has run out.
    pub(crate) fn timer(&mut self, timer: Timer) {
        match (timer, self.state.phase) {
            (Timer::Watchdog, phase) if phase.is_up() || phase == Phase::StartPost => {
                self.state.reason = Some("said no WATCHDOG=1 in time".into());
                self.blame(Outcome::Watchdog);
                self.signal_all(Phase::StopWatchdog);
            }
            (Timer::Runtime, phase) if phase.is_up() => {
                self.state.reason = Some("ran longer than RuntimeMaxSec=".into());
                self.blame(Outcome::Timeout);
                self.stop_step_first();
            }
            (Timer::Phase, phase) => self.took_too_long(phase),
            _ => {}
        }
    }

    fn took_too_long(&mut self, phase: Phase) {
        if phase != Phase::AutoRestart {
            let message = format!("{} took too long", phase.word());
            self.host.say(Level::Warning, &self.unit.name, &message);
            self.state.reason.get_or_insert(message);
        }
        let may_kill = self.unit.service.kill.send_sigkill;
        match phase {
            Phase::Condition | Phase::StartPre | Phase::Start => {
                self.blame(Outcome::Timeout);
                self.signal_all(Phase::StopSigterm);
            }
            Phase::StartPost => {
                self.blame(Outcome::Timeout);
                self.stop_step_first();
            }
            Phase::Reload => {
                if let Some(pid) = self.state.control {
                    self.host.signal(pid, libc::SIGKILL);
                }
                self.settle_up();
            }
            Phase::Stop => {
                self.blame(Outcome::Timeout);
                self.signal_all(Phase::StopSigterm);
            }
            Phase::StopWatchdog | Phase::StopSigterm if may_kill => {
                self.blame(Outcome::Timeout);
                self.signal_all(Phase::StopSigkill);
            }
            Phase::StopWatchdog | Phase::StopSigterm | Phase::StopSigkill => {
                self.blame(Outcome::Timeout);
                self.stop_post();
            }
            Phase::StopPost => {
                self.blame(Outcome::Timeout);
                self.signal_all(Phase::FinalSigterm);
            }
            Phase::FinalSigterm if may_kill => {
                self.blame(Outcome::Timeout);
                self.signal_all(Phase::FinalSigkill);
            }
            Phase::FinalSigterm | Phase::FinalSigkill => {
                self.blame(Outcome::Timeout);
                self.down(false);
            }
            _ => {}
        }
    }
}

/// An exit status in words.
pub(crate) fn describe(status: ExitStatus) -> String {
    match status {
        ExitStatus::Exited(code) => format!("exit code {code}"),
        ExitStatus::Signaled(signal) => signal_name(signal),
    }
}

mod kill;
mod notified;
#[cfg(test)]
mod tests;
