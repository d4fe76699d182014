//! What becomes of the node when a unit ends (FailureAction= and its like), and jobs that take too long.

use spec_unit::directive::action::{Action, Actions};
use spec_unit::directive::dependency::Relation;
use spec_unit::graph::{JobKind, UnitId};
use spec_unit::name::UnitType;

use super::super::state::{Active, Outcome, Phase};
use super::super::supervise::{Host as _, Timer};
use super::Supervisor;
use super::devices::TIMEOUT_US;

impl Supervisor {
    /// FailureAction= and SuccessAction=.
    pub(super) fn act_on_end(&mut self, id: UnitId, before: Phase, phase: Phase) {
        let ran = self.has_succeeded(id, before);
        match phase {
            Phase::Failed => self.act(id, "failed", |actions| {
                (actions.failure, actions.reboot_argument.clone())
            }),
            Phase::Dead if ran => self.act(id, "has ended", |actions| {
                (actions.success, actions.reboot_argument.clone())
            }),
            _ => {}
        }
    }

    /// Whether a unit that is down now has run, and well: what should have been started again and was not, has not.
    pub(super) fn has_succeeded(&self, id: UnitId, before: Phase) -> bool {
        let ran = !matches!(before.active(), Active::Inactive | Active::Failed);
        let state = self.states.get(id);
        ran && state.is_some_and(|state| state.result == Outcome::Success)
    }

    /// StartLimitAction=, after an attempt to start.
    pub(super) fn watch_start_limit(&mut self, id: UnitId) {
        let state = self.states.get(id);
        if state.is_some_and(|state| state.start_limit_hit) {
            self.act(id, "was started too often", |actions| {
                (actions.start_limit, actions.reboot_argument.clone())
            });
        }
    }

    /// While the node shuts down already, a unit that ends changes nothing.
    fn act(
        &mut self,
        id: UnitId,
        why: &str,
        of: impl FnOnce(&Actions) -> (Option<Action>, Option<String>),
    ) {
        let Some(unit) = self.graph.unit(id) else {
            return;
        };
        let (Some(action), argument) = of(&unit.actions) else {
            return;
        };
        if self.shutdown.is_some() {
            return;
        }
        crate::error!("{} {why}, so the node goes: {action:?}", unit.name);
        if let Some(argument) = argument {
            let file = &self.config.reboot_argument;
            if let Err(cause) = std::fs::write(file, argument) {
                crate::warning!("{}: {cause}; the reboot has no argument", file.display());
            }
        }
        self.begin_shutdown_as(action);
    }

    /// Sets the clock of a job that comes in.
    pub(super) fn time_job(&mut self, id: UnitId) {
        let span = self.graph.unit(id).and_then(|unit| unit.actions.job_us);
        let at = span.map(|span| self.host.now_us().saturating_add(span));
        self.host.arm(id, Timer::Job, at);
    }

    /// Sets the clock of a job whose turn it is, if that is sooner.
    pub(super) fn time_running_job(&mut self, id: UnitId) {
        let Some(unit) = self.graph.unit(id) else {
            return;
        };
        let given = unit.actions.job_running_us.is_some() || unit.actions.job_us.is_some();
        let device = unit.kind == UnitType::Device && !given;
        let span = unit.actions.running_us();
        let Some(span) = span.or(device.then_some(TIMEOUT_US)) else {
            return;
        };
        let at = self.host.now_us().saturating_add(span);
        let known = self.host.timers.at((id, Timer::Job));
        self.host.arm(
            id,
            Timer::Job,
            Some(known.map_or(at, |known| known.min(at))),
        );
    }

    /// A job is done, or will not be.
    pub(super) fn finish_job(&mut self, id: UnitId) {
        self.host.arm(id, Timer::Job, None);
        self.jobs.finish(id, &self.graph);
        self.release_stored(id);
    }

    /// Gives a job up. Its unit stays as it is, as in systemd.
    pub(super) fn job_timed_out(&mut self, id: UnitId) {
        let (Some(job), Some(unit)) = (self.jobs.get(id), self.graph.unit(id)) else {
            return;
        };
        let verb = match job.kind {
            JobKind::Start => "start",
            JobKind::Stop => "stop",
            JobKind::Restart => "restart",
        };
        crate::error!(
            "{}: its {verb} took too long (JobTimeoutSec=) and is given up",
            unit.name
        );
        self.finish_job(id);
        if job.kind == JobKind::Start {
            self.fail_dependents(id);
            self.trigger(id, Relation::OnFailure);
        }
        self.announce(id);
        self.act(id, "waited too long", |actions| {
            (actions.job_timeout, actions.job_reboot_argument.clone())
        });
    }
}

#[cfg(test)]
mod tests;
