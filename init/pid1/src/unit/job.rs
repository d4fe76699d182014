//! The queue of jobs: what is to be done to which unit, and whose turn it is.
//!
//! A unit has at most one job. A job waits for the jobs of units it is ordered with, never for anything else, so the
//! queue always moves; cycles are broken when they come in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use spec_unit::finding::Finding;
use spec_unit::graph::{Broken, Graph, JobKind, Transaction, UnitId};

/// A job and whether it is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// What is to be done.
    pub(crate) kind: JobKind,
    /// It was begun and its end is waited for.
    pub(crate) running: bool,
}

/// The queue of jobs.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    jobs: BTreeMap<UnitId, Job>,
    broken: Broken,
    /// Units whose job may have become ready.
    fresh: BTreeSet<UnitId>,
    /// Units whose job is another one since that was last asked.
    changed: BTreeSet<UnitId>,
}

impl Jobs {
    /// Takes a transaction in. A new job replaces another one of its unit; the same one stays. Cycles found are
    /// returned.
    pub(crate) fn submit(&mut self, transaction: &Transaction, graph: &Graph) -> Vec<Finding> {
        for (id, kind) in &transaction.jobs {
            if self.jobs.get(id).is_none_or(|job| job.kind != *kind) {
                self.put(
                    *id,
                    Job {
                        kind: *kind,
                        running: false,
                    },
                );
            }
            self.fresh.insert(*id);
        }
        let (broken, findings) = graph.break_cycles(&self.jobs.keys().copied().collect());
        self.broken = broken;
        findings
    }

    /// Takes in the jobs of another queue. Cycles found are returned.
    pub(crate) fn resume(&mut self, jobs: Vec<(UnitId, Job)>, graph: &Graph) -> Vec<Finding> {
        self.changed.extend(jobs.iter().map(|(id, _)| *id));
        self.jobs.extend(jobs);
        self.fresh = self.jobs.keys().copied().collect();
        let (broken, findings) = graph.break_cycles(&self.fresh);
        self.broken = broken;
        findings
    }

    /// Notes the start of a unit that is begun at once: an automatic restart.
    pub(crate) fn submit_running(&mut self, id: UnitId) {
        self.put(
            id,
            Job {
                kind: JobKind::Start,
                running: true,
            },
        );
    }

    fn put(&mut self, id: UnitId, job: Job) {
        self.jobs.insert(id, job);
        self.changed.insert(id);
    }

    /// Units whose job came, went on or went since the last call.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<UnitId> {
        std::mem::take(&mut self.changed)
    }

    /// The job of a unit.
    pub(crate) fn get(&self, id: UnitId) -> Option<Job> {
        self.jobs.get(&id).copied()
    }

    /// Jobs left.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (UnitId, Job)> + '_ {
        self.jobs.iter().map(|(id, job)| (*id, *job))
    }

    /// A job whose turn it is; it counts as running from now on.
    pub(crate) fn next(&mut self, graph: &Graph) -> Option<(UnitId, JobKind)> {
        while let Some(id) = self.fresh.pop_first() {
            let Some(job) = self.jobs.get(&id).copied().filter(|job| !job.running) else {
                continue;
            };
            if !self.is_blocked(id, job, graph) {
                self.put(
                    id,
                    Job {
                        running: true,
                        ..job
                    },
                );
                return Some((id, job.kind));
            }
        }
        None
    }

    fn is_blocked(&self, id: UnitId, job: Job, graph: &Graph) -> bool {
        graph.after(id).chain(graph.before(id)).any(|other| {
            let Some(theirs) = self.jobs.get(&other) else {
                return false;
            };
            let step = if job.kind.stops() {
                (other, id)
            } else {
                (id, other)
            };
            let broken = job.kind.stops() == theirs.kind.stops() && self.broken.contains(&step);
            !broken && graph.waits(id, job.kind, other, theirs.kind)
        })
    }

    /// Puts a running job back: its unit is not ready for it.
    pub(crate) fn postpone(&mut self, id: UnitId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.running = false;
            self.changed.insert(id);
        }
    }

    /// Looks at a unit's job again.
    pub(crate) fn wake(&mut self, id: UnitId) {
        if self.jobs.contains_key(&id) {
            self.fresh.insert(id);
        }
    }

    /// The stop of a restart is done; its start is left.
    pub(crate) fn stopped_for_restart(&mut self, id: UnitId, graph: &Graph) {
        self.put(
            id,
            Job {
                kind: JobKind::Start,
                running: false,
            },
        );
        self.fresh.insert(id);
        self.wake_neighbours(id, graph);
    }

    /// Takes a job out.
    pub(crate) fn finish(&mut self, id: UnitId, graph: &Graph) {
        if self.jobs.remove(&id).is_some() {
            self.changed.insert(id);
            self.wake_neighbours(id, graph);
        }
    }

    fn wake_neighbours(&mut self, id: UnitId, graph: &Graph) {
        let neighbours = graph.after(id).chain(graph.before(id));
        self.fresh
            .extend(neighbours.filter(|other| self.jobs.contains_key(other)));
    }

    /// Takes every start out, for a shutdown.
    pub(crate) fn drop_starts(&mut self) {
        self.changed.extend(self.jobs.keys());
        self.jobs.retain(|_, job| job.kind == JobKind::Stop);
        self.fresh = self.jobs.keys().copied().collect();
    }
}

#[cfg(test)]
mod tests {
    use spec_unit::directive::dependency::Relation;
    use spec_unit::finding::Place;
    use spec_unit::name::UnitType;
    use spec_unit::unit::Unit;

    use super::*;

    /// Units a, b, c, each after the one before it.
    fn chain() -> Graph {
        let mut graph = Graph::default();
        for (name, after) in [
            ("a.service", None),
            ("b.service", Some("a.service")),
            ("c.service", Some("b.service")),
        ] {
            let mut unit = Unit::new(name, UnitType::Service);
            after.iter().for_each(|after| {
                unit.dependencies
                    .imply(Relation::After, after, Place::default())
            });
            graph.insert(unit).unwrap();
        }
        graph
    }

    fn all(kind: JobKind) -> Transaction {
        Transaction {
            jobs: (0..3).map(|id| (id, kind)).collect(),
            skipped: vec![],
        }
    }

    #[test]
    fn starts_go_in_order_and_stops_in_reverse() {
        let graph = chain();
        for (kind, order) in [(JobKind::Start, [0, 1, 2]), (JobKind::Stop, [2, 1, 0])] {
            let mut jobs = Jobs::default();
            assert_eq!(jobs.submit(&all(kind), &graph), []);
            for id in order {
                assert_eq!(jobs.next(&graph), Some((id, kind)));
                assert_eq!(jobs.next(&graph), None, "the others wait");
                jobs.finish(id, &graph);
            }
            assert_eq!(jobs.iter().count(), 0);
        }
    }

    #[test]
    fn a_restart_stops_dependents_first_and_starts_them_last() {
        let graph = chain();
        let mut jobs = Jobs::default();
        jobs.submit(&all(JobKind::Restart), &graph);
        for id in [2, 1, 0] {
            assert_eq!(jobs.next(&graph), Some((id, JobKind::Restart)));
            jobs.stopped_for_restart(id, &graph);
        }
        for id in [0, 1, 2] {
            assert_eq!(jobs.next(&graph), Some((id, JobKind::Start)));
            jobs.finish(id, &graph);
        }
    }

    #[test]
    fn a_new_job_replaces_the_old_one() {
        let graph = chain();
        let mut jobs = Jobs::default();
        jobs.submit(&all(JobKind::Start), &graph);
        assert_eq!(jobs.next(&graph), Some((0, JobKind::Start)));
        jobs.submit(&all(JobKind::Stop), &graph);
        assert_eq!(
            jobs.get(0),
            Some(Job {
                kind: JobKind::Stop,
                running: false
            })
        );
    }

    #[test]
    fn a_cycle_is_told_and_the_queue_still_moves() {
        let mut graph = chain();
        let mut unit = Unit::new("d.service", UnitType::Service);
        unit.dependencies
            .imply(Relation::Before, "a.service", Place::default());
        unit.dependencies
            .imply(Relation::After, "c.service", Place::default());
        graph.insert(unit).unwrap();
        for kind in [JobKind::Start, JobKind::Stop] {
            let mut jobs = Jobs::default();
            let transaction = Transaction {
                jobs: (0..4).map(|id| (id, kind)).collect(),
                skipped: vec![],
            };
            assert_eq!(jobs.submit(&transaction, &graph).len(), 1);
            let mut done = 0;
            while let Some((id, _)) = jobs.next(&graph) {
                jobs.finish(id, &graph);
                done += 1;
            }
            assert_eq!(done, 4);
        }
    }
}
