//! Upholds=: a unit that is down is started again while another one that upholds it is up.

use spec_unit::directive::dependency::Relation;
use spec_unit::graph::{JobKind, UnitId};

use super::super::state::{Active, Phase};
use super::super::supervise::{Host as _, Timer};
use super::Supervisor;

/// A unit that is down again at once is not started more often than [`BURST`] times in this time, as in systemd.
const INTERVAL_US: u64 = 10_000_000;
/// Starts within it.
const BURST: usize = 16;

impl Supervisor {
    /// A unit is down, or up and may uphold others.
    pub(super) fn note_upheld(&mut self, id: UnitId, phase: Phase) {
        match phase.active() {
            Active::Up | Active::Reloading => {
                self.upheld.extend(self.graph.on(id, Relation::Upholds));
            }
            Active::Inactive | Active::Failed => drop(self.upheld.insert(id)),
            Active::Activating | Active::Deactivating => {}
        }
    }

    /// Starts the unit if it is down and upheld; later, if it was started too often.
    pub(super) fn uphold(&mut self, id: UnitId) {
        let down = matches!(self.phase(id).active(), Active::Inactive | Active::Failed);
        if !down || self.shutdown.is_some() || self.jobs.get(id).is_some() || !self.is_upheld(id) {
            return;
        }
        let now = self.host.now_us();
        let (Some(unit), Some(state)) = (self.graph.unit(id), self.states.get_mut(id)) else {
            return;
        };
        state
            .upheld_us
            .retain(|at| now.saturating_sub(*at) < INTERVAL_US);
        let limited = state.start_limit_hit;
        let oldest = state
            .upheld_us
            .first()
            .filter(|_| state.upheld_us.len() >= BURST);
        let due = match (state.starts_us.first(), oldest) {
            (Some(first), _) if limited => first.saturating_add(unit.start_limit.interval_us),
            (_, Some(oldest)) => oldest.saturating_add(INTERVAL_US),
            _ => now,
        };
        if due > now {
            return self.host.arm(id, Timer::Upheld, Some(due));
        }
        state.upheld_us.push(now);
        self.host.touched.insert(id);
        let name = unit.name.clone();
        if let Err(message) = self.request(&name, JobKind::Start) {
            crate::warning!("{name} is upheld and not started: {message}");
        }
    }

    /// Whether a unit that is up, and is not about to go down, upholds it.
    fn is_upheld(&self, id: UnitId) -> bool {
        self.graph.dependents(id, Relation::Upholds).any(|by| {
            let stops = self.jobs.get(by).is_some_and(|job| job.kind.stops());
            self.phase(by).is_up() && !stops
        })
    }
}
