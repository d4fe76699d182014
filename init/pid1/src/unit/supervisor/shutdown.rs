//! A shutdown as units see it: every one stops, who delays it is named, and at its deadline what is left is killed.

use serde::{Deserialize, Serialize};
use spec_unit::control::ShutdownAction;
use spec_unit::directive::action::{Action, Haste};
use spec_unit::graph::{JobKind, Transaction, UnitId};
use spec_unit::name::UnitType;
use spec_unit::unit::Unit;

use super::super::job::Job;
use super::super::state::Phase;
use super::super::supervise::Host as _;
use super::Supervisor;

/// How often a shutdown names who delays it.
const REPORT_US: u64 = 5_000_000;
/// Time that killed processes get to go away at the very end.
const LAST_US: u64 = 3_000_000;

/// A shutdown under way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Shutdown {
    action: ShutdownAction,
    haste: Haste,
    pub(super) deadline_us: u64,
    pub(super) report_us: u64,
    killed: bool,
}

impl Supervisor {
    /// Stops every unit, then the supervision.
    pub(in crate::unit) fn begin_shutdown(&mut self, action: ShutdownAction) {
        self.begin_shutdown_as(Action {
            shutdown: action,
            haste: Haste::Orderly,
        });
    }

    /// The same, or without stopping any unit.
    pub(super) fn begin_shutdown_as(&mut self, action: Action) {
        let Action {
            shutdown: action,
            haste,
        } = action;
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.action = action;
            return;
        }
        crate::notice!("shutting down: {action:?}");
        let now = self.host.now_us();
        let deadline = u64::try_from(self.config.shutdown_deadline.as_micros()).unwrap_or(u64::MAX);
        let (deadline_us, report_us) = (now.saturating_add(deadline), now + REPORT_US);
        self.shutdown = Some(Shutdown {
            action,
            haste,
            deadline_us,
            report_us,
            killed: false,
        });
        self.jobs.drop_starts();
        // What is left was for starts that will not happen; a mount among it would keep a file system busy.
        self.host.touched.extend(self.host.handed.keys());
        self.host.handed.clear();
        if haste != Haste::Orderly {
            return;
        }
        self.set_starting(true);
        let up = |id: &UnitId| !matches!(self.phase(*id), Phase::Dead | Phase::Failed);
        let device = |unit: &Unit| unit.kind == UnitType::Device;
        let stays = |unit: &Unit| unit.is_perpetual() || device(unit) || Self::is_of_the_boot(unit);
        let units = self.graph.units().filter(|(_, unit)| !stays(unit));
        let jobs = units
            .map(|(id, _)| id)
            .filter(up)
            .map(|id| (id, JobKind::Stop))
            .collect();
        self.submit(&Transaction {
            jobs,
            skipped: Vec::new(),
        });
    }

    pub(super) fn watch_shutdown(&mut self, now: u64) {
        let Some(mut shutdown) = self.shutdown else {
            return;
        };
        if now >= shutdown.report_us {
            let waiting = self.who_delays();
            crate::notice!("shutdown waits for {}", waiting.join(", "));
            shutdown.report_us = now + REPORT_US;
        }
        if now >= shutdown.deadline_us && !shutdown.killed {
            crate::error!(
                "shutdown: killed, its time is over: {}",
                self.who_delays().join(", ")
            );
            let groups: Vec<String> = self
                .states
                .iter()
                .filter_map(|state| state.cgroup.clone())
                .collect();
            for group in &groups {
                self.host.signal_group(group, libc::SIGKILL);
            }
            shutdown.killed = true;
            shutdown.deadline_us = now + LAST_US;
        }
        self.shutdown = Some(shutdown);
    }

    pub(super) fn who_delays(&self) -> Vec<String> {
        let delays = |(id, job): (UnitId, Job)| {
            let name = &self.graph.unit(id)?.name;
            job.running
                .then(|| format!("{name} ({})", self.phase(id).word()))
        };
        self.jobs.iter().filter_map(delays).collect()
    }

    /// Whether nothing at all is to be ended or written first.
    pub(crate) fn goes_at_once(&self) -> bool {
        self.shutdown
            .is_some_and(|shutdown| shutdown.haste == Haste::Immediate)
    }

    /// The action of a shutdown whose units have all stopped, or whose time is over.
    pub(crate) fn is_over(&self) -> Option<ShutdownAction> {
        let shutdown = self.shutdown?;
        let over = shutdown.killed && self.host.now_us() >= shutdown.deadline_us;
        let over = over || shutdown.haste != Haste::Orderly;
        (over || self.jobs.iter().next().is_none()).then_some(shutdown.action)
    }
}
