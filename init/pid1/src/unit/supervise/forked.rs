//! The main process of a service that forks, systemd.service(5) `Type=forking`.
//!
//! What ExecStart= has started ends, and leaves a daemon behind. PIDFile= names it; without that it is the only process
//! that is left, or it is not known, and the service lives as long as its control group has processes.

use spec_unit::directive::service::ServiceType;

use super::super::state::{Outcome, Phase};
use super::{Machine, Timer};
use crate::log::Level;

/// How often a file that is not there yet is looked for.
const LOOK_US: u64 = 50_000;

impl Machine<'_> {
    /// The process that was to fork has ended well.
    pub(super) fn forked(&mut self) {
        // ExecStartPost= may write the file.
        let later = !self.unit.service.exec.start_post.is_empty();
        if self.finds_main() || later {
            return self.start_post();
        }
        self.look_again();
    }

    /// Whether ExecStartPost= is over and the main process of a service that names it is not known yet.
    pub(super) fn waits_for_main(&mut self) -> bool {
        if self.kind() != ServiceType::Forking || self.state.main.is_some() || self.finds_main() {
            return false;
        }
        self.look_again();
        true
    }

    /// Looks for the main process; false if it is named and not there yet.
    fn finds_main(&mut self) -> bool {
        if self.state.main.is_some() {
            return true;
        }
        let kind = &self.unit.service.kind;
        let group = self.state.cgroup.clone().unwrap_or_default();
        let found = match &kind.pid_file {
            Some(file) => match self.host.adopt_named(self.id, &group, file) {
                Ok(pid) => Some(pid),
                Err(why) => {
                    self.state.reason = Some(format!("waits for PIDFile={file}: {why}"));
                    return false;
                }
            },
            None if kind.guess_main_pid => self.host.adopt_only(self.id, &group),
            None => None,
        };
        self.state.main = found;
        self.state.main_unknown = found.is_none();
        self.state.reason = None;
        true
    }

    fn look_again(&mut self) {
        if !self.is_left_in_group() {
            return self.ended_without_main();
        }
        let at = self.host.now_us().saturating_add(LOOK_US);
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
