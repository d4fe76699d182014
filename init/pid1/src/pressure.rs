//! Want of memory: when it has lasted too long, and whom to kill for it before the node is lost.
//!
//! The kernel tells of pressure (PSI) by itself: PID 1 waits on a trigger for each group that is watched, and reads
//! nothing while the node is calm. From the first trigger on it looks once a second ([`INTERVAL_US`]) until all is calm
//! again. Here is what the readings mean and who is chosen, without any reading; who reads and kills is
//! [`crate::unit`].
//!
//! Watched are the groups of units with ManagedOOMMemoryPressure=kill, as systemd-oomd does it, and two without being
//! asked ([`of_node`]): the whole node, and what people run.
//!
//! Source: Documentation/accounting/psi.rst; Documentation/admin-guide/cgroup-v2.rst; systemd-oomd.service(8),
//! oomd.conf(5).

use std::cmp::Reverse;

use spec_layout::slice::TASK;
use spec_unit::directive::resource::ROOT_SLICE;
use spec_unit::directive::resource::managed_oom::{
    DEFAULT_DURATION_US, DEFAULT_LIMIT, ManagedOom, Preference,
};
use spec_unit::graph::UnitId;

pub(crate) mod reading;
#[cfg(test)]
mod tests;

/// How often pressure is looked at while there is some; systemd-oomd's time.
pub(crate) const INTERVAL_US: u64 = 1_000_000;
/// After a kill nobody is killed for so long: averages lag behind, and memory takes its time to come free. systemd-oomd's time.
pub(crate) const AFTER_KILL_US: u64 = 15_000_000;
/// How long after the last trigger pressure is looked at.
pub(crate) const CALM_US: u64 = 10_000_000;
/// The window of a trigger.
const WINDOW_US: u64 = 2_000_000;
/// Killing helps only where memory was reclaimed within this time; systemd-oomd's time.
const RECLAIM_US: u64 = 30_000_000;
/// In hundredths of a percent: all of the time.
const WHOLE: u32 = 10_000;
/// The node as a whole. Of a node that stands still avg10 comes to 40% after 5 s, and 10 s later the kill is due: half
/// of the 30 s after which its watchdog resets the machine, and of the least that its services' own watchdogs wait for.
/// A node that is only slow, with tasks that get on, does not come to all tasks waiting for 40% of 20 s.
const NODE_LIMIT: u32 = 4_000;
const NODE_DURATION_US: u64 = 10_000_000;

/// What tells that memory is short where it is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Pages of the group are looked through for some to take away (`pgscan` of memory.stat), as for systemd-oomd.
    Reclaim,
    /// The same of the node for want of memory of its own, not of a limit of some group (/proc/vmstat).
    Node,
    /// The group's own limit is reached, not one below it (`max` of memory.events.local).
    Limit,
}

/// When a group has waited for memory for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Of the last 10 s, in hundredths of a percent.
    pub(crate) limit: u32,
    /// For how long.
    pub(crate) duration_us: u64,
    /// What must be seen besides.
    pub(crate) evidence: Evidence,
}

impl Rule {
    /// What a unit asks for, or what holds of the node without being asked. None: it is not watched.
    pub(crate) fn of(unit: &str, managed: &ManagedOom) -> Option<Self> {
        match managed.pressure {
            Some(false) => None,
            None => of_node(unit),
            Some(true) => Some(Self {
                limit: managed.limit.unwrap_or(DEFAULT_LIMIT),
                duration_us: managed.duration_us.unwrap_or(DEFAULT_DURATION_US),
                evidence: match unit {
                    ROOT_SLICE => Evidence::Node,
                    _ => Evidence::Reclaim,
                },
            }),
        }
    }

    /// What is written to the group's memory.pressure to be told: at half the limit, so that avg10 is never above it
    /// without PID 1 looking.
    pub(crate) fn trigger(&self) -> String {
        let part = u64::from(self.limit) * WINDOW_US / 2 / u64::from(WHOLE);
        format!("full {} {WINDOW_US}", part.max(1))
    }
}

/// For the groups with ManagedOOMSwap=kill: the node is told of at all when somebody waits for a tenth of the time.
pub(crate) fn swap_trigger() -> String {
    format!("some {} {WINDOW_US}", WINDOW_US / 10)
}

/// The slices that are watched without any directive.
pub(crate) const OF_NODE: [&str; 2] = [ROOT_SLICE, TASK];

/// The policy of the node. What people run has a limit as a whole; tasks that have reached it wait for each other while
/// the node itself has memory left, so it is watched as systemd-oomd would.
fn of_node(unit: &str) -> Option<Rule> {
    match unit {
        ROOT_SLICE => Some(Rule {
            limit: NODE_LIMIT,
            duration_us: NODE_DURATION_US,
            evidence: Evidence::Node,
        }),
        TASK => Some(Rule {
            limit: DEFAULT_LIMIT,
            duration_us: DEFAULT_DURATION_US,
            evidence: Evidence::Limit,
        }),
        _ => None,
    }
}

/// What was seen of a group that is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Since when it is above its limit, CLOCK_MONOTONIC.
    pub(crate) since_us: Option<u64>,
    /// The evidence's count, last time.
    count: Option<u64>,
    /// When that last grew.
    grew_us: Option<u64>,
    /// avg10, last time.
    pub(crate) pressure: u32,
}

/// What a look at a group says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Far below its limit.
    Calm,
    /// Not for long enough, or without want of memory.
    Wait,
    /// As before, and it is time to see of which groups memory is reclaimed.
    Near,
    /// Somebody must go.
    Due,
}

impl Seen {
    /// What another image of PID 1 saw.
    pub(crate) fn since(since_us: Option<u64>) -> Self {
        Self {
            since_us,
            ..Self::default()
        }
    }

    /// Takes in a look: `pressure` is avg10 of `full` in hundredths of a percent, `count` that of the rule's evidence.
    pub(crate) fn look(
        &mut self,
        rule: &Rule,
        now_us: u64,
        pressure: u32,
        count: Option<u64>,
    ) -> Verdict {
        if let (Some(now), Some(before)) = (count, self.count)
            && now > before
        {
            self.grew_us = Some(now_us);
        }
        self.count = count.or(self.count);
        self.pressure = pressure;
        if pressure <= rule.limit {
            self.since_us = None;
            return match pressure.saturating_mul(2) <= rule.limit {
                true => Verdict::Calm,
                false => Verdict::Wait,
            };
        }
        let since = *self.since_us.get_or_insert(now_us);
        let lasted = now_us.saturating_sub(since);
        let grew = self
            .grew_us
            .is_some_and(|at| now_us.saturating_sub(at) <= RECLAIM_US);
        if lasted >= rule.duration_us && grew {
            Verdict::Due
        } else if lasted.saturating_add(2 * INTERVAL_US) >= rule.duration_us {
            Verdict::Near
        } else {
            Verdict::Wait
        }
    }
}

/// A group that may be killed: one without groups below it, or one that the kernel too would kill as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its path below the root.
    pub(crate) group: String,
    /// The service that it is of.
    pub(crate) unit: Option<UnitId>,
    /// What that says.
    pub(crate) preference: Preference,
    /// Pages of it that were looked through since the last look.
    pub(crate) scanned: u64,
    /// Bytes of memory in use.
    pub(crate) memory: u64,
    /// Bytes of swap in use.
    pub(crate) swap: u64,
}

/// Whom to kill for pressure, as systemd-oomd: of which most is reclaimed, and of two alike who has more memory; those
/// to avoid only where there is nobody else.
pub(crate) fn by_reclaim(candidates: &[Candidate]) -> Option<&Candidate> {
    let killed = |one: &&Candidate| one.scanned > 0 || one.memory > 0;
    most(candidates, killed, |one| (one.scanned, one.memory))
}

/// Whom to kill for want of swap, as systemd-oomd: who has most of it, and more than a twentieth of all.
pub(crate) fn by_swap(candidates: &[Candidate], all: u64) -> Option<&Candidate> {
    let killed = |one: &&Candidate| one.swap > all / 20;
    most(candidates, killed, |one| (one.swap, one.memory))
}

fn most(
    candidates: &[Candidate],
    killed: impl Fn(&&Candidate) -> bool,
    weight: impl Fn(&Candidate) -> (u64, u64),
) -> Option<&Candidate> {
    let others = candidates.iter().filter(killed);
    let others = others.filter(|one| one.preference != Preference::Omit);
    // Of several alike the first by name, so that the choice is the same each time.
    others.max_by_key(|one| (Reverse(one.preference), weight(one), Reverse(&one.group)))
}

/// Keeps what PID 1 is made of in memory: what it needs in order to act must not be read from a disk first. What it has
/// is read in now; what it gets later stays once it was touched. Its children have none of that.
pub(crate) fn lock_memory() {
    use rustix::mm::{MlockAllFlags, mlockall};
    let later = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    let locked = mlockall(MlockAllFlags::CURRENT).and_then(|()| mlockall(later));
    if let Err(cause) = locked {
        crate::warning!("PID 1 cannot keep itself in memory: {cause}");
    }
}
