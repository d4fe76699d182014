//! What follows from what a service says, sd_notify(3).

use spec_unit::directive::notify::NotifyAccess;

use super::super::state::Phase;
use super::{Machine, Timer};
use crate::notify::Message;

impl Machine<'_> {
    /// Whether a process of the service may speak for it.
    pub(crate) fn hears(&self, pid: i32) -> bool {
        match self.unit.service.notify.access(self.kind().notifies()) {
            NotifyAccess::None => false,
            NotifyAccess::Main => self.state.main == Some(pid),
            NotifyAccess::Exec => [self.state.main, self.state.control].contains(&Some(pid)),
            NotifyAccess::All => true,
        }
    }

    /// Takes in an sd_notify message of a process that may speak.
    pub(crate) fn notified(&mut self, message: &Message) {
        if let Some(text) = &message.status {
            self.state.status_text = (!text.is_empty()).then(|| text.clone());
        }
        if let Some(span) = message.watchdog_us {
            self.state.watchdog_us = Some(span);
        }
        if message.watchdog_trigger && self.state.phase.is_up() {
            return self.timer(Timer::Watchdog);
        }
        let watched = self.state.phase.is_up() || self.state.phase == Phase::StartPost;
        if (message.watchdog || message.watchdog_us.is_some()) && watched {
            self.feed_watchdog();
        }
        if message.reloading {
            // What was sent before the signal is about another reload.
            let began = message.monotonic_us.unwrap_or_default();
            match self.state.phase {
                Phase::ReloadSignal if began >= self.state.reload_began_us => {
                    self.enter(Phase::ReloadNotify);
                }
                Phase::ReloadSignal => {}
                Phase::Running => self.reload_by_notify(),
                _ => self.state.said_reloading = true,
            }
        }
        if let (Some(span), Some(deadline)) = (message.extend_timeout_us, self.state.deadline_us) {
            let extended = self.host.now_us().saturating_add(span);
            if extended > deadline {
                self.state.deadline_us = Some(extended);
                self.host.arm(self.id, Timer::Phase, Some(extended));
            }
        }
        if message.ready {
            self.state.said_reloading = false;
            // Both may be in one message.
            match self.state.phase {
                Phase::Start if self.kind().notifies() => self.start_post(),
                Phase::ReloadNotify => self.settle_up(),
                _ => {}
            }
        }
    }
}
