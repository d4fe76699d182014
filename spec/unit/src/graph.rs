//! The graph of loaded units: what starting or stopping one brings with it, and in which order.
//!
//! Units are loaded with all that their start brings in. A [`Transaction`] is what one request means for all units.
//! A cycle in the order is reported with its whole path, file and line of each step, and broken by leaving out one
//! step, always the same one: all units start, one of them perhaps too early, and the shutdown never hangs.

mod places;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::directive::dependency::Relation;
use crate::finding::{Finding, Place};
use crate::name::UnitType;
use crate::unit::Unit;

/// Most units loaded.
pub const MAX_UNITS: usize = 4096;

/// Relations by which a stop of a unit stops those that have them to it, and a restart restarts them.
const STOPPED_WITH: &[Relation] = &[
    Relation::Requires,
    Relation::Requisite,
    Relation::BindsTo,
    Relation::PartOf,
];

/// A unit's place in the graph; it does not change while the unit is there.
pub type UnitId = usize;

/// What is to be done to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop it, then start it.
    Restart,
}

impl JobKind {
    /// It begins with a stop.
    pub fn stops(self) -> bool {
        matches!(self, Self::Stop | Self::Restart)
    }
}

/// What one request means for all units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The jobs.
    pub jobs: BTreeMap<UnitId, JobKind>,
    /// Wanted units that cannot be started, and why.
    pub skipped: Vec<String>,
}

/// The loaded units and how they hang together.
#[derive(Debug, Default)]
pub struct Graph {
    units: Vec<Unit>,
    names: BTreeMap<String, UnitId>,
    free: Vec<UnitId>,
    after: Vec<BTreeSet<UnitId>>,
    before: Vec<BTreeSet<UnitId>>,
    dependents: Vec<Vec<(Relation, UnitId)>>,
}

/// Steps of an order left out to break cycles: the first no longer waits for the second.
pub type Broken = BTreeSet<(UnitId, UnitId)>;

impl Graph {
    /// A unit by its place.
    pub fn unit(&self, id: UnitId) -> Option<&Unit> {
        self.units.get(id)
    }

    /// A unit's place by any of its names.
    pub fn id(&self, name: &str) -> Option<UnitId> {
        self.names.get(name).copied()
    }

    /// All units with their places, in the order they were loaded.
    pub fn units(&self) -> impl Iterator<Item = (UnitId, &Unit)> {
        self.units
            .iter()
            .enumerate()
            .filter(|(id, unit)| self.names.get(&unit.name) == Some(id))
    }

    /// The units that this one starts after.
    pub fn after(&self, id: UnitId) -> impl Iterator<Item = UnitId> + '_ {
        self.after.get(id).into_iter().flatten().copied()
    }

    /// The units that start after this one.
    pub fn before(&self, id: UnitId) -> impl Iterator<Item = UnitId> + '_ {
        self.before.get(id).into_iter().flatten().copied()
    }

    /// The units that this one depends on in one way, as far as they are loaded.
    pub fn on(&self, id: UnitId, relation: Relation) -> impl Iterator<Item = UnitId> + '_ {
        let list = self
            .units
            .get(id)
            .map(|unit| unit.dependencies.of(relation));
        list.into_iter()
            .flatten()
            .filter_map(|dependency| self.id(&dependency.on))
    }

    /// The units that depend on this one in one way.
    pub fn dependents(&self, id: UnitId, relation: Relation) -> impl Iterator<Item = UnitId> + '_ {
        let list = self.dependents.get(id).into_iter().flatten();
        list.filter(move |(kind, _)| *kind == relation)
            .map(|(_, id)| *id)
    }

    fn connect(&mut self) {
        let count = self.units.len();
        self.after = vec![BTreeSet::new(); count];
        self.before = vec![BTreeSet::new(); count];
        self.dependents = vec![Vec::new(); count];
        let mut edges = Vec::new();
        for (id, unit) in self.units.iter().enumerate() {
            for dependency in &unit.dependencies.list {
                let Some(on) = self.id(&dependency.on).filter(|on| *on != id) else {
                    continue;
                };
                match dependency.relation {
                    Relation::After => edges.push((id, on)),
                    Relation::Before => edges.push((on, id)),
                    relation => {
                        if let Some(list) = self.dependents.get_mut(on) {
                            list.push((relation, id));
                        }
                    }
                }
            }
        }
        for (late, early) in edges {
            self.order(late, early);
        }
        for (target, unit) in self.targets_after_their_parts() {
            self.order(target, unit);
        }
    }

    fn order(&mut self, late: UnitId, early: UnitId) {
        if let (Some(after), Some(before)) = (self.after.get_mut(late), self.before.get_mut(early))
        {
            after.insert(early);
            before.insert(late);
        }
    }

    /// A target is reached after the units it brings in, where both have default dependencies and nobody says
    /// otherwise.
    fn targets_after_their_parts(&self) -> Vec<(UnitId, UnitId)> {
        let mut edges = Vec::new();
        for (id, unit) in self.units.iter().enumerate() {
            if unit.kind != UnitType::Target || !unit.dependencies.default {
                continue;
            }
            for dependency in unit
                .dependencies
                .list
                .iter()
                .filter(|d| d.relation.starts())
            {
                let Some(on) = self.id(&dependency.on) else {
                    continue;
                };
                let default = self
                    .units
                    .get(on)
                    .is_some_and(|other| other.dependencies.default);
                let reversed = self.after.get(on).is_some_and(|after| after.contains(&id));
                if default && !reversed {
                    edges.push((id, on));
                }
            }
        }
        edges
    }

    /// All that starting a unit means. `active` tells which units run, or are on their way there.
    pub fn start(
        &self,
        id: UnitId,
        active: &dyn Fn(UnitId) -> bool,
    ) -> Result<Transaction, String> {
        let mut plan = Plan {
            graph: self,
            active,
            jobs: BTreeMap::new(),
            order: Vec::new(),
            skipped: Vec::new(),
        };
        plan.start(id, true)?;
        plan.conflicts(id)?;
        Ok(Transaction {
            jobs: plan.jobs,
            skipped: plan.skipped,
        })
    }

    /// All that stopping units means: those that require them stop too.
    pub fn stop(
        &self,
        ids: impl IntoIterator<Item = UnitId>,
        active: &dyn Fn(UnitId) -> bool,
    ) -> Transaction {
        let asked = self.with_followers(ids, active);
        let jobs = self
            .stop_closure(asked, active)
            .into_iter()
            .map(|id| (id, JobKind::Stop))
            .collect();
        Transaction {
            jobs,
            skipped: Vec::new(),
        }
    }

    /// All that restarting a unit means: those that require it and run are restarted too, and those that only stop with
    /// it stop.
    pub fn restart(
        &self,
        id: UnitId,
        active: &dyn Fn(UnitId) -> bool,
    ) -> Result<Transaction, String> {
        let mut transaction = self.start(id, &|other| other != id && active(other))?;
        let restarted = self.stop_closure([id], active);
        let followers = self.with_followers([id], active);
        for stopped in self.stop_closure(followers, active) {
            transaction.jobs.insert(stopped, JobKind::Stop);
        }
        for dependent in restarted {
            transaction.jobs.insert(dependent, JobKind::Restart);
        }
        if active(id) {
            transaction.jobs.insert(id, JobKind::Restart);
        }
        Ok(transaction)
    }

    /// Those that are asked for, those whose StopPropagatedFrom= names one of them, and those that their PropagatesStopTo=
    /// names. As in systemd, a stop that itself follows from another, or from a conflict, goes no further that way.
    fn with_followers(
        &self,
        ids: impl IntoIterator<Item = UnitId>,
        active: &dyn Fn(UnitId) -> bool,
    ) -> Vec<UnitId> {
        let mut asked: Vec<UnitId> = ids.into_iter().collect();
        let followers: Vec<UnitId> = asked
            .iter()
            .flat_map(|id| {
                let back = self.dependents(*id, Relation::StopPropagatedFrom);
                back.chain(self.on(*id, Relation::PropagatesStopTo))
            })
            .filter(|id| active(*id))
            .collect();
        asked.extend(followers);
        asked
    }

    fn stop_closure(
        &self,
        ids: impl IntoIterator<Item = UnitId>,
        active: &dyn Fn(UnitId) -> bool,
    ) -> BTreeSet<UnitId> {
        let mut closure = BTreeSet::new();
        let mut open: Vec<UnitId> = ids.into_iter().collect();
        while let Some(id) = open.pop() {
            if closure.insert(id) {
                let dependents = STOPPED_WITH.iter();
                let dependents = dependents.flat_map(|relation| self.dependents(id, *relation));
                open.extend(dependents.filter(|dependent| active(*dependent)));
            }
        }
        closure
    }

    /// Whether, of two units with jobs, the first waits for the second.
    pub fn waits(&self, id: UnitId, job: JobKind, other: UnitId, other_job: JobKind) -> bool {
        let ordered = |late: UnitId, early: UnitId| {
            self.after
                .get(late)
                .is_some_and(|after| after.contains(&early))
        };
        match (job.stops(), other_job.stops()) {
            (false, false) => ordered(id, other),
            (true, true) => ordered(other, id),
            (false, true) => ordered(id, other) || ordered(other, id),
            (true, false) => false,
        }
    }

    /// Finds every cycle in the order of these units; returns the steps to leave out and a finding for each.
    ///
    /// The steps are the same at each run: an implied one if the cycle has one, else the one written in the file
    /// that sorts last.
    pub fn break_cycles(&self, ids: &BTreeSet<UnitId>) -> (Broken, Vec<Finding>) {
        let mut broken = Broken::new();
        let mut findings = Vec::new();
        while let Some(cycle) = self.cycle(ids, &broken) {
            let steps: Vec<(UnitId, UnitId, Step)> = cycle
                .iter()
                .zip(cycle.iter().cycle().skip(1))
                .map(|(late, early)| (*late, *early, self.step(*late, *early)))
                .collect();
            let chosen = steps.iter().max_by_key(|(late, early, step)| {
                (
                    step.implied,
                    step.at.clone(),
                    self.name(*late),
                    self.name(*early),
                )
            });
            let Some((late, early, chosen)) = chosen else {
                break;
            };
            broken.insert((*late, *early));
            let path: Vec<String> = steps
                .iter()
                .map(|(_, _, step)| format!("{} ({})", step.text, step.at))
                .collect();
            let message = format!(
                "ordering cycle: {}; left out: {}",
                path.join(", "),
                chosen.text
            );
            findings.push(Finding::error(chosen.at.clone(), message));
        }
        (broken, findings)
    }

    fn name(&self, id: UnitId) -> String {
        self.unit(id)
            .map(|unit| unit.name.clone())
            .unwrap_or_default()
    }

    /// One cycle, each unit after the next, or none.
    fn cycle(&self, ids: &BTreeSet<UnitId>, broken: &Broken) -> Option<Vec<UnitId>> {
        let mut done: BTreeSet<UnitId> = BTreeSet::new();
        let mut sorted: Vec<UnitId> = ids.iter().copied().collect();
        sorted.sort_by_key(|id| self.name(*id));
        for root in sorted {
            let mut path: Vec<(UnitId, Vec<UnitId>)> = Vec::new();
            let mut next = Some(root);
            loop {
                if let Some(id) = next.take().filter(|id| !done.contains(id)) {
                    if let Some(start) = path.iter().position(|(on_path, _)| *on_path == id) {
                        return path
                            .get(start..)
                            .map(|cycle| cycle.iter().map(|(id, _)| *id).collect());
                    }
                    let early = self
                        .after(id)
                        .filter(|early| ids.contains(early) && !broken.contains(&(id, *early)));
                    path.push((id, early.collect()));
                }
                match path.last_mut() {
                    None => break,
                    Some((id, open)) => match open.pop() {
                        Some(early) => next = Some(early),
                        None => {
                            done.insert(*id);
                            path.pop();
                        }
                    },
                }
            }
        }
        None
    }

    /// Where it is written that one unit comes after another.
    fn step(&self, late: UnitId, early: UnitId) -> Step {
        let written = |from: UnitId, relation: Relation, to: UnitId| {
            let unit = self.unit(from)?;
            let dependency = unit
                .dependencies
                .of(relation)
                .find(|d| self.id(&d.on) == Some(to))?;
            let word = if relation == Relation::After {
                "After"
            } else {
                "Before"
            };
            let text = format!("{} {word}={}", unit.name, dependency.on);
            Some(Step {
                text,
                at: dependency.at.clone(),
                implied: dependency.implied,
            })
        };
        let step = written(late, Relation::After, early)
            .or_else(|| written(early, Relation::Before, late));
        step.unwrap_or_else(|| {
            let brings = self.unit(late).and_then(|unit| {
                unit.dependencies
                    .list
                    .iter()
                    .find(|d| d.relation.starts() && self.id(&d.on) == Some(early))
            });
            let at = brings
                .map(|dependency| dependency.at.clone())
                .unwrap_or_default();
            Step {
                text: format!("{} brings in {}", self.name(late), self.name(early)),
                at,
                implied: true,
            }
        })
    }
}

struct Step {
    text: String,
    at: Place,
    implied: bool,
}

struct Plan<'a> {
    graph: &'a Graph,
    active: &'a dyn Fn(UnitId) -> bool,
    jobs: BTreeMap<UnitId, JobKind>,
    order: Vec<UnitId>,
    skipped: Vec<String>,
}

impl Plan<'_> {
    fn start(&mut self, id: UnitId, asked: bool) -> Result<(), String> {
        if self.jobs.contains_key(&id) || (!asked && (self.active)(id)) {
            return Ok(());
        }
        let unit = self.graph.unit(id).ok_or("no such unit")?;
        if let Some(message) = unit.load_error() {
            return Err(message);
        }
        self.jobs.insert(id, JobKind::Start);
        self.order.push(id);
        for dependency in &unit.dependencies.list {
            let on = self.graph.id(&dependency.on);
            match (dependency.relation, on) {
                (Relation::Requires | Relation::BindsTo, Some(on)) => {
                    let required = self.start(on, false);
                    required.map_err(|message| {
                        format!("{} needs {message} ({})", unit.name, dependency.at)
                    })?;
                }
                (Relation::Requisite, on)
                    if !on.is_some_and(|on| (self.active)(on) || self.jobs.contains_key(&on)) =>
                {
                    return Err(format!(
                        "{} needs {} to run already ({})",
                        unit.name, dependency.on, dependency.at
                    ));
                }
                (Relation::Wants | Relation::Upholds, Some(on)) => self.want(on),
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts a unit if that can be done; else all is as before.
    fn want(&mut self, id: UnitId) {
        let before = self.order.len();
        if let Err(message) = self.start(id, false) {
            for id in self.order.split_off(before) {
                self.jobs.remove(&id);
            }
            self.skipped.push(message);
        }
    }

    /// Stops what conflicts with the units that start.
    fn conflicts(&mut self, asked: UnitId) -> Result<(), String> {
        let mut stops = BTreeSet::new();
        for id in self.order.clone() {
            let graph = self.graph;
            let both = graph
                .on(id, Relation::Conflicts)
                .chain(graph.dependents(id, Relation::Conflicts));
            for other in both {
                if self.jobs.contains_key(&other) && self.jobs.contains_key(&id) {
                    let loser = if id == asked { other } else { id };
                    if loser == asked || !self.droppable(loser, asked) {
                        return Err(format!(
                            "{} and {} conflict",
                            graph.name(id),
                            graph.name(other)
                        ));
                    }
                    self.jobs.remove(&loser);
                    self.skipped.push(format!(
                        "{}: conflicts with {}",
                        graph.name(loser),
                        graph.name(asked)
                    ));
                } else if (self.active)(other) && !self.jobs.contains_key(&other) {
                    stops.insert(other);
                }
            }
        }
        for id in self.graph.stop_closure(stops, self.active) {
            self.jobs.entry(id).or_insert(JobKind::Stop);
        }
        Ok(())
    }

    /// No unit that starts requires it.
    fn droppable(&self, id: UnitId, asked: UnitId) -> bool {
        let requirers = [Relation::Requires, Relation::BindsTo];
        let mut requirers = requirers
            .iter()
            .flat_map(|relation| self.graph.dependents(id, *relation));
        id != asked && !requirers.any(|requirer| self.jobs.contains_key(&requirer))
    }
}

#[cfg(test)]
mod tests;
