//! What follows from a clock that has run out.

use spec_unit::directive::service::ServiceType;

use super::super::state::{Outcome, Phase};
use super::{Machine, Timer};
use crate::log::Level;

impl Machine<'_> {
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
            (Timer::PidFile, Phase::Start) if self.kind() == ServiceType::Forking => self.forked(),
            (Timer::PidFile, Phase::StartPost) => self.end_start(),
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
            Phase::ReloadSignal | Phase::ReloadNotify => {
                self.state.said_reloading = false;
                self.settle_up();
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
                self.state.left_behind = true;
                self.down(false);
            }
            _ => {}
        }
    }
}
