//! What follows when the kernel, or PID 1, kills a process of the service for want of memory: OOMPolicy=.

use spec_unit::directive::resource::oom::OomPolicy;

use super::super::state::{Outcome, Phase};
use super::Machine;
use crate::log::Level;

impl Machine<'_> {
    /// How many processes in the service's group the kernel has killed until now.
    pub(super) fn killed_for_memory(&self) -> u64 {
        let group = self.state.cgroup.as_deref();
        group.map_or(0, |group| self.host.killed_for_memory(group))
    }

    /// Whether the kernel has killed one since that was last looked at. A new group counts from the beginning.
    pub(super) fn watch_memory(&mut self) -> bool {
        let (before, now) = (self.state.killed_for_memory, self.killed_for_memory());
        self.state.killed_for_memory = now;
        self.state.ran_out_of_memory |= now > before;
        now > before
    }

    /// The group's memory may have run out: what OOMPolicy= says follows. It is asked before the end of a process is
    /// told, so that this is what the run ended by, as in systemd.
    pub(crate) fn memory_changed(&mut self) {
        if self.state.phase.is_down() || !self.watch_memory() {
            return;
        }
        let message = "the kernel has killed a process of it for want of memory";
        self.host.say(Level::Warning, &self.unit.name, message);
        self.ran_out_of_memory(message);
    }

    /// PID 1 has killed all of its group, or of one below it, for want of memory: the same follows, as in systemd.
    pub(crate) fn killed_for_pressure(&mut self, whole: bool, why: &str) {
        if self.state.phase.is_down() {
            return;
        }
        self.state.ran_out_of_memory = true;
        if whole {
            self.state.reason.get_or_insert(why.into());
        }
        self.ran_out_of_memory(why);
    }

    fn ran_out_of_memory(&mut self, why: &str) {
        let kill = match self.unit.service.resources.oom_policy() {
            // Whoever has made a transient unit looks after it.
            _ if self.state.plan.is_some() => return,
            OomPolicy::Continue => return,
            OomPolicy::Stop => false,
            OomPolicy::Kill => true,
        };
        self.state.reason.get_or_insert(why.into());
        self.blame(Outcome::OomKill);
        match self.state.phase {
            Phase::Condition | Phase::StartPre | Phase::Start | Phase::StartPost | Phase::Stop => {
                self.signal_all(match kill {
                    true => Phase::StopSigkill,
                    false => Phase::StopSigterm,
                })
            }
            Phase::Running
            | Phase::Exited
            | Phase::Reload
            | Phase::ReloadSignal
            | Phase::ReloadNotify => {
                if kill {
                    return self.signal_all(Phase::StopSigkill);
                }
                if let Some(pid) = self.state.control {
                    self.host.signal(pid, libc::SIGKILL);
                }
                self.stop_step_first();
            }
            Phase::StopWatchdog | Phase::StopSigterm => self.signal_all(Phase::StopSigkill),
            Phase::StopPost | Phase::FinalSigterm => self.signal_all(Phase::FinalSigkill),
            _ => {}
        }
    }
}
