//! Units into the graph and out of it.
//!
//! What a load brings in is read as a whole before anything is put in: a load that fails changes nothing.

use std::collections::{BTreeSet, VecDeque};

use super::{Graph, MAX_UNITS, UnitId};
use crate::directive::dependency::Relation;
use crate::finding::Finding;
use crate::load::Loader;
use crate::unit::{LoadState, Unit};

/// Units that were read and are not in the graph yet, each with the name it was asked for by.
#[derive(Default)]
struct Read {
    units: Vec<(String, Unit)>,
    findings: Vec<Finding>,
}

impl Graph {
    /// Loads a unit and all that its start could bring in; returns its place and what was found on the way.
    pub fn load(
        &mut self,
        loader: &Loader<'_>,
        name: &str,
    ) -> Result<(UnitId, Vec<Finding>), String> {
        let read = self.read(loader, name, None)?;
        self.put(read, name)
    }

    /// Loads a unit's file again. For a unit that does not run.
    pub fn reload(
        &mut self,
        loader: &Loader<'_>,
        id: UnitId,
    ) -> Result<(UnitId, Vec<Finding>), String> {
        let unit = self.units.get(id).filter(|unit| !unit.name.is_empty());
        let name = unit.ok_or("no such unit")?.name.clone();
        let read = self.read(loader, &name, Some(id))?;
        self.vacate(id);
        self.put(read, &name)
    }

    /// Reads a unit and what it brings in, as far as the graph does not know it; `anew` does not count as known.
    fn read(&self, loader: &Loader<'_>, name: &str, anew: Option<UnitId>) -> Result<Read, String> {
        let known = |name: &str| self.id(name).is_some_and(|id| Some(id) != anew);
        let mut read = Read::default();
        let mut asked = BTreeSet::from([name.to_string()]);
        let mut open = VecDeque::from([name.to_string()]);
        while let Some(name) = open.pop_front() {
            if known(&name) {
                continue;
            }
            if self.count() + read.units.len() >= MAX_UNITS {
                return Err(format!("{name}: more than {MAX_UNITS} units"));
            }
            let loaded = loader.load(&name)?;
            let brought_in = brings_in(&loaded.unit).filter(|on| asked.insert(on.to_string()));
            open.extend(brought_in.map(String::from));
            read.findings.extend(loaded.findings);
            read.units.push((name, loaded.unit));
        }
        Ok(read)
    }

    fn put(&mut self, read: Read, name: &str) -> Result<(UnitId, Vec<Finding>), String> {
        for (asked, unit) in read.units {
            self.add(unit, &asked);
        }
        self.connect();
        let id = self.id(name).ok_or("no such unit")?;
        Ok((id, read.findings))
    }

    /// Puts a unit in, asked for by a name; a unit known already is found again.
    fn add(&mut self, unit: Unit, asked: &str) -> UnitId {
        let id = match self.names.get(&unit.name) {
            Some(id) => *id,
            None => {
                let id = self.free.pop().unwrap_or(self.units.len());
                self.names.insert(unit.name.clone(), id);
                for alias in &unit.aliases {
                    self.names.entry(alias.clone()).or_insert(id);
                }
                match self.units.get_mut(id) {
                    Some(place) => *place = unit,
                    None => self.units.push(unit),
                }
                id
            }
        };
        self.names.entry(asked.into()).or_insert(id);
        id
    }

    /// Puts in a unit that has no file.
    pub fn insert(&mut self, unit: Unit) -> Result<UnitId, String> {
        if self.names.contains_key(&unit.name) {
            return Err(format!("{} is in use", unit.name));
        }
        if self.count() >= MAX_UNITS {
            return Err(format!("more than {MAX_UNITS} units"));
        }
        let name = unit.name.clone();
        let id = self.add(unit, &name);
        self.connect();
        Ok(id)
    }

    /// Takes a unit out; its name and its place can be used anew.
    pub fn forget(&mut self, id: UnitId) {
        self.vacate(id);
        self.connect();
    }

    /// Takes out every unit that no other one names and that `idle` says nothing holds; returns their places.
    ///
    /// A unit that could not be read goes at once. One that could be read stays until the graph is half full: there
    /// are as many instances of a template as somebody asks for.
    pub fn forget_unneeded(&mut self, idle: impl Fn(UnitId) -> bool) -> Vec<UnitId> {
        let crowded = self.count() >= MAX_UNITS / 2;
        let mut gone = Vec::new();
        loop {
            let named: BTreeSet<UnitId> = self.named().collect();
            let unneeded = |(id, unit): &(UnitId, &Unit)| {
                (crowded || unit.load != LoadState::Loaded) && !named.contains(id) && idle(*id)
            };
            let unneeded: Vec<UnitId> = self.units().filter(unneeded).map(|(id, _)| id).collect();
            if unneeded.is_empty() {
                break;
            }
            unneeded.iter().for_each(|id| self.vacate(*id));
            gone.extend(unneeded);
        }
        if !gone.is_empty() {
            self.connect();
        }
        gone
    }

    /// The units that another one names.
    fn named(&self) -> impl Iterator<Item = UnitId> + '_ {
        self.units().flat_map(move |(id, unit)| {
            let on = unit.dependencies.list.iter();
            on.filter_map(|dependency| self.id(&dependency.on))
                .filter(move |on| *on != id)
        })
    }

    /// Takes a unit out without drawing the lines between the others anew.
    fn vacate(&mut self, id: UnitId) {
        let Some(unit) = self.units.get_mut(id).filter(|unit| !unit.name.is_empty()) else {
            return;
        };
        *unit = Unit::new("", unit.kind);
        self.names.retain(|_, known| *known != id);
        self.free.push(id);
    }

    /// Units that are there.
    fn count(&self) -> usize {
        self.units.len().saturating_sub(self.free.len())
    }
}

/// The units that the start of this one could bring in.
fn brings_in(unit: &Unit) -> impl Iterator<Item = &str> {
    let follows = |relation: Relation| {
        relation.starts()
            || matches!(
                relation,
                Relation::OnFailure | Relation::OnSuccess | Relation::Requisite
            )
    };
    let list = unit.dependencies.list.iter();
    list.filter(move |dependency| follows(dependency.relation))
        .map(|dependency| dependency.on.as_str())
}
