//! The main process of a service that forks, systemd.service(5) `Type=forking`.
//!
//! What ExecStart= has started ends, and leaves a daemon behind. PIDFile= names it; without that it is the only process
//! that is left, or it is not known, and the service lives as long as its control group has processes.

use spec_unit::directive::service::ServiceType;

use super::super::state::{Outcome, Phase};
use super::{Machine, Timer};
use crate::log::Level;

/// How soon a file that is not there yet is looked for again, at first and at the most.
const LOOK_US: (u64, u64) = (50_000, 1_000_000);
/// Begins the reason of a service that waits for its file.
const WAITS: &str = "waits for PIDFile=";

impl Machine<'_> {
    /// The process that was to fork has ended well.
    pub(super) fn forked(&mut self) {
        if self.is_main_over() {
            return self.signal_all(Phase::StopSigterm);
        }
        // ExecStartPost= may write the file.
        let later = !self.unit.service.exec.start_post.is_empty();
        if self.finds_main() || later {
            return self.start_post();
        }
        self.look_again();
    }

    /// Whether ExecStartPost= is over and the main process of a service that names it is not known yet.
    pub(super) fn waits_for_main(&mut self) -> bool {
        let known = self.state.main.is_some() || self.is_main_over();
        if self.kind() != ServiceType::Forking || known || self.finds_main() {
            return false;
        }
        self.look_again();
        true
    }

    /// It named its main process, and that has ended.
    fn is_main_over(&self) -> bool {
        self.state.main.is_none() && self.state.main_exit.is_some()
    }

    /// Takes the process that the file names by now, if it is another one: a daemon may hand over to its successor.
    pub(super) fn follow_main(&mut self) -> bool {
        let up = self.state.phase.is_up() || self.state.phase == Phase::StartPost;
        let (true, true, Some(file)) = (
            up,
            self.kind() == ServiceType::Forking,
            &self.unit.service.kind.pid_file,
        ) else {
            return false;
        };
        let group = self.state.cgroup.clone().unwrap_or_default();
        match self.host.adopt_named(self.id, &group, file) {
            Ok(pid) if self.state.main != Some(pid) => {
                let message = format!("its main process is {pid} now, PIDFile={file} says");
                self.host.say(Level::Notice, &self.unit.name, &message);
                self.state.main = Some(pid);
                true
            }
            _ => false,
        }
    }

    /// The reason that it waits is over, whatever comes.
    pub(super) fn forget_wait(&mut self) {
        let reason = self.state.reason.as_deref();
        if reason.is_some_and(|reason| reason.starts_with(WAITS)) {
            self.state.reason = None;
        }
    }

    /// Looks for the main process; false if it is named and not there yet.
    fn finds_main(&mut self) -> bool {
        self.forget_wait();
        if self.state.main.is_some() {
            return true;
        }
        let kind = &self.unit.service.kind;
        let group = self.state.cgroup.clone().unwrap_or_default();
        let found = match &kind.pid_file {
            Some(file) => match self.host.adopt_named(self.id, &group, file) {
                Ok(pid) => Some(pid),
                Err(why) => {
                    self.state.reason = Some(format!("{WAITS}{file}: {why}"));
                    return false;
                }
            },
            None if kind.guess_main_pid => self.host.adopt_only(self.id, &group),
            None => None,
        };
        self.state.main = found;
        self.state.main_unknown = found.is_none();
        true
    }

    fn look_again(&mut self) {
        if !self.is_left_in_group() {
            return self.ended_without_main();
        }
        let now = self.host.now_us();
        let waited = now.saturating_sub(self.state.started_us.unwrap_or(now));
        let at = now.saturating_add((waited / 4).clamp(LOOK_US.0, LOOK_US.1));
        self.host.arm(self.id, Timer::PidFile, Some(at));
    }

    /// No process is left, and none was named.
    pub(super) fn ended_without_main(&mut self) {
        let Some(file) = &self.unit.service.kind.pid_file else {
            // Without a file the end of ExecStartPost= tells.
            return;
        };
        let message = format!("all its processes ended before PIDFile={file} named one of them");
        self.host.say(Level::Warning, &self.unit.name, &message);
        self.state.reason = Some(message);
        self.host.arm(self.id, Timer::PidFile, None);
        self.blame(Outcome::Protocol);
        match self.state.phase {
            Phase::StartPost => self.stop_step_first(),
            _ => self.signal_all(Phase::StopSigterm),
        }
    }
}
