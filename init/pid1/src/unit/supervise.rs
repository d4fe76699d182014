//! The life of a service: what follows from each event, in systemd's words and order.
//!
//! A [`Machine`] is a service's settings, its state and the [`Host`] it acts through. It decides; the host does. It
//! never waits: each function moves the service to its next phase and returns. Tests give it a host that writes down.
//!
//! Source: systemd.service(5), systemd.kill(5), sd_notify(3).

use serde::{Deserialize, Serialize};
use spec_unit::control::ExitStatus;
use spec_unit::directive::exec::Command;
use spec_unit::directive::service::ServiceType;
use spec_unit::graph::UnitId;
use spec_unit::unit::Unit;
use spec_unit::value::signal_name;

use super::state::{Outcome, Phase, UnitState};
use crate::log::Level;

/// What a process is to its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// ExecStart=.
    Main,
    /// Any other Exec line.
    Control,
}

/// The clocks of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Timer {
    /// The phase has taken too long, or the restart is due.
    Phase,
    /// The service should have said WATCHDOG=1.
    Watchdog,
    /// The service has run for too long.
    Runtime,
    /// A forking service may have told its main process by now.
    PidFile,
    /// The unit's job has taken too long.
    Job,
    /// The unit is down, upheld by another one, and may be started again.
    Upheld,
}

impl Timer {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Phase,
        Self::Watchdog,
        Self::Runtime,
        Self::PidFile,
        Self::Job,
        Self::Upheld,
    ];
}

/// What a service acts through.
pub(crate) trait Host {
    /// Microseconds of CLOCK_MONOTONIC.
    fn now_us(&self) -> u64;
    /// Makes a process of the service; of its transient plan, where no command is given.
    fn spawn(&mut self, service: &mut Spawn<'_>) -> Result<i32, Refusal>;
    /// Signals one process.
    fn signal(&mut self, pid: i32, signal: i32);
    /// Signals every process in the group; how many there were.
    fn signal_group(&mut self, group: &str, signal: i32) -> usize;
    /// Lets a group that is frozen go on.
    fn thaw(&mut self, group: &str);
    /// Whether a process is in the group.
    fn populated(&self, group: &str) -> bool;
    /// Takes the process that the file names as the main one, if it is in the group; its number.
    fn adopt_named(&mut self, id: UnitId, group: &str, pid_file: &str) -> Result<i32, String>;
    /// Takes the only child in the group as the main process, if there is just one; its number.
    fn adopt_only(&mut self, id: UnitId, group: &str) -> Option<i32>;
    /// Removes a file that a service which has stopped has left.
    fn remove_pid_file(&mut self, pid_file: &str);
    /// How many processes in it the kernel has killed for want of memory.
    fn killed_for_memory(&self, group: &str) -> u64;
    /// Removes the group and folders of a service that has stopped.
    fn clean(&mut self, id: UnitId, state: &mut UnitState);
    /// Sets or stops a clock.
    fn arm(&mut self, id: UnitId, timer: Timer, at_us: Option<u64>);
    /// Says something about the unit.
    fn say(&mut self, level: Level, unit: &str, message: &str);
}

/// Why a process was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// For people.
    pub(crate) message: String,
    /// systemd finds it in the child, which exits with this: the service ends as if it had.
    pub(crate) status: Option<i32>,
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        let status = None;
        Self { message, status }
    }
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
    fn run(&mut self, role: Role) -> Option<Result<(), Refusal>> {
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
        let spawned = self.host.spawn(&mut spawn);
        match (&spawned, role) {
            (Ok(pid), Role::Main) => self.state.main = Some(*pid),
            (Ok(pid), Role::Control) => self.state.control = Some(*pid),
            (Err(_), _) => {}
        }
        Some(spawned.map(drop))
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
            let (times, seconds) = (limit.burst, limit.interval_us / 1_000_000);
            let reason = format!("started {times} times within {seconds} s");
            self.state.start_limit_hit = true;
            // As in systemd what it failed by before stays its result.
            let result = match self.state.result.result() == "success" {
                true => Outcome::StartLimitHit,
                false => self.state.result,
            };
            return self.refuse(Phase::Failed, result, reason);
        }
        if limit.interval_us > 0 && limit.burst > 0 {
            self.state.starts_us.push(now);
        }
        if !automatic {
            (self.state.restarts, self.state.crashes) = (0, 0);
        }
        self.state.result = Outcome::Success;
        self.state.start_limit_hit = false;
        self.state.told_to_stop = false;
        self.state.restarting = false;
        self.state.left_behind = false;
        // What is left of the last run is nobody's main process any more.
        (self.state.main, self.state.control) = (None, None);
        self.state.main_unknown = false;
        self.state.said_reloading = false;
        self.state.killed_for_memory = self.killed_for_memory();
        self.state.ran_out_of_memory = false;
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

    /// A unit without processes is up.
    pub(crate) fn reach(&mut self) {
        (self.state.result, self.state.reason) = (Outcome::Success, None);
        self.enter(Phase::Active);
    }

    /// Ends a start that has not begun. The unit may have waited for it, and no clock of that wait runs on.
    pub(crate) fn refuse(&mut self, phase: Phase, result: Outcome, reason: String) {
        (self.state.result, self.state.reason) = (result, Some(reason));
        self.state.left_behind = false;
        self.state.deadline_us = None;
        for timer in Timer::ALL {
            self.host.arm(self.id, timer, None);
        }
        self.enter(phase);
    }

    /// Runs ExecCondition= and ExecStartPre= one after the other, then ExecStart=.
    fn start_step(&mut self) {
        let oneshot = self.kind() == ServiceType::Oneshot;
        self.allow(self.unit.service.timeout.start(oneshot));
        match self.run(Role::Control) {
            Some(Ok(())) => {}
            Some(Err(refusal)) => self.fail_to_run(refusal, Role::Control),
            None if self.state.phase == Phase::Condition => {
                self.enter(Phase::StartPre);
                self.start_step();
            }
            None => self.start_main(),
        }
    }

    /// A process was not made. Where systemd's child finds out why, what follows is what follows from that child's end.
    fn fail_to_run(&mut self, refusal: Refusal, role: Role) {
        let Refusal { message, status } = refusal;
        self.host.say(Level::Error, &self.unit.name, &message);
        self.state.reason = Some(message);
        match (status.map(ExitStatus::Exited), role) {
            (Some(status), Role::Main) => self.main_ended(status),
            (Some(status), Role::Control) => self.control_ended(status),
            (None, _) => {
                self.blame(Outcome::Resources);
                self.signal_all(match self.state.phase {
                    Phase::StopPost => Phase::FinalSigterm,
                    _ => Phase::StopSigterm,
                });
            }
        }
    }

    fn start_main(&mut self) {
        self.enter(Phase::Start);
        self.state.started_us = Some(self.host.now_us());
        let role = match self.kind() {
            ServiceType::Forking => Role::Control,
            _ => Role::Main,
        };
        match (self.run(role), self.kind()) {
            (Some(Err(refusal)), _) => self.fail_to_run(refusal, role),
            (None, _) => self.start_post(),
            (Some(Ok(())), ServiceType::Simple | ServiceType::Idle) if !self.waits_for_exec() => {
                self.start_post();
            }
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
            Some(Err(refusal)) => self.fail_to_run(refusal, Role::Control),
            None => self.end_start(),
        }
    }

    /// All commands of the start have run.
    fn end_start(&mut self) {
        if self.waits_for_main() {
            return;
        }
        let longest = self.unit.service.timeout.runtime_us;
        if let Some(span) = longest.filter(|span| *span != u64::MAX) {
            let at = self.host.now_us().saturating_add(span);
            self.host.arm(self.id, Timer::Runtime, Some(at));
        }
        self.settle_up();
    }

    /// Whether it runs as long as there is any process in its group, now that it has no main one.
    fn runs_without_main(&self) -> bool {
        let any = self.state.main_unknown || self.unit.service.kind.ends_with_group;
        any && self.state.main.is_none()
    }

    /// Up: running, or exited and counted as active, or about to go down.
    fn settle_up(&mut self) {
        self.allow(u64::MAX);
        let unknown = self.runs_without_main() && self.is_left_in_group();
        if self.state.main.is_some() && self.state.said_reloading {
            self.reload_by_notify();
        } else if self.state.main.is_some() || unknown {
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

    /// Runs ExecReload=, and sends ReloadSignal= to a service that reloads by it.
    pub(crate) fn reload(&mut self) -> Result<(), String> {
        if self.state.phase != Phase::Running && self.state.phase != Phase::Exited {
            return Err(format!(
                "{} is {}: only a running service can reload",
                self.unit.name,
                self.state.phase.word()
            ));
        }
        let by_signal = self.kind() == ServiceType::NotifyReload && self.state.main.is_some();
        if self.unit.service.exec.reload.is_empty() && !by_signal {
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
            Some(Err(refusal)) => {
                let message = &refusal.message;
                self.host.say(Level::Error, &self.unit.name, message);
                match refusal.status {
                    Some(status) => self.control_ended(ExitStatus::Exited(status)),
                    None => self.settle_up(),
                }
            }
            None => self.reload_by_signal(),
        }
    }

    /// The service has said by itself that it reloads, and will say when it is ready again.
    fn reload_by_notify(&mut self) {
        self.state.said_reloading = false;
        self.enter(Phase::ReloadNotify);
        self.allow(self.unit.service.timeout.start(false));
    }

    /// A service of Type=notify-reload says when it begins and when it is ready again.
    fn reload_by_signal(&mut self) {
        match self.state.main {
            Some(pid) if self.kind() == ServiceType::NotifyReload => {
                self.state.reload_began_us = self.host.now_us();
                self.enter(Phase::ReloadSignal);
                let signal = self.unit.service.kind.reload_signal;
                self.host.signal(pid, signal);
            }
            _ => {
                // A new main process may have taken over.
                self.follow_main();
                self.settle_up();
            }
        }
    }
}

/// An exit status in words.
pub(crate) fn describe(status: ExitStatus) -> String {
    match status {
        ExitStatus::Exited(code) => format!("exit code {code}"),
        ExitStatus::Signaled(signal) => signal_name(signal),
        ExitStatus::Dumped(signal) => format!("{}, core dumped", signal_name(signal)),
    }
}

mod ended;
mod forked;
mod kill;
mod memory;
mod notified;
mod stop;
#[cfg(test)]
mod tests;
mod timeout;
