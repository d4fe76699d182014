//! From wished packages to all that must be there: Depends and Pre-Depends with alternatives, Provides (versioned
//! ones too), Conflicts and Breaks.
//!
//! The order of preference is apt's: the first alternative, the real package before its providers, the newest
//! version. A choice that ends in a conflict is taken back, so a solution is found where there is one. Only packages
//! that something names are pulled in: Essential counts for nothing. The same input gives the same answer.
//!
//! Own search and not a SAT solver: a solver that learns clauses finds some solution, while an image must get the
//! one that a person reading the relations expects, with an explanation in their words; closures here have tens of
//! packages, and stable suites hardly ever need a choice taken back.

use std::collections::BTreeSet;

use debversion::Version;

use crate::index::{Candidate, Universe};
use crate::relation::{self, Alternatives, Atom};

/// Choices tried before giving up.
const STEPS_MAX: usize = 100_000;
/// Packages of one closure.
const PACKAGES_MAX: usize = 5_000;

/// The packages that `wished` and their relations ask for, by name.
pub(crate) fn closure<'a>(
    universe: &'a Universe,
    wished: &[String],
    exclude: &'a [String],
) -> Result<Vec<&'a Candidate>, String> {
    if let Some(unknown) = wished.iter().find(|name| !known(universe, name)) {
        return Err(format!(
            "unknown package \"{unknown}\"{}",
            nearest(universe, unknown)
        ));
    }
    let mut search = Search {
        universe,
        exclude: exclude.iter().map(String::as_str).collect(),
        goals: wished
            .iter()
            .map(|name| Goal {
                alternatives: vec![Atom::any(name)],
                of: None,
            })
            .collect(),
        chosen: Vec::new(),
        steps: 0,
        failure: None,
    };
    if !search.run(0) {
        let failure = search
            .failure
            .map(|(_, message)| message)
            .unwrap_or_default();
        return Err(failure);
    }
    let mut packages: Vec<&Candidate> = search
        .chosen
        .iter()
        .map(|chosen| chosen.candidate)
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// The newest version of a package, without its relations.
pub(crate) fn newest<'a>(universe: &'a Universe, name: &str) -> Result<&'a Candidate, String> {
    let found = sorted(universe, name).into_iter().next();
    found.ok_or_else(|| format!("unknown package \"{name}\"{}", nearest(universe, name)))
}

fn known(universe: &Universe, name: &str) -> bool {
    universe.packages.contains_key(name) || universe.providers.contains_key(name)
}

/// Versions of a package, the newest first.
fn sorted<'a>(universe: &'a Universe, name: &str) -> Vec<&'a Candidate> {
    let mut versions: Vec<(Option<Version>, &Candidate)> = universe
        .packages
        .get(name)
        .into_iter()
        .flatten()
        .map(|candidate| (candidate.version.parse().ok(), candidate))
        .collect();
    versions.sort_by(|(a, _), (b, _)| b.cmp(a));
    versions
        .into_iter()
        .map(|(_, candidate)| candidate)
        .collect()
}

/// A relation to fulfil.
#[derive(Debug, Clone)]
struct Goal {
    alternatives: Alternatives,
    /// Index in `chosen` of the package whose relation it is; the recipe's own wish without.
    of: Option<usize>,
}

/// A package that was taken, with its relations read.
struct Chosen<'a> {
    candidate: &'a Candidate,
    provides: Vec<Atom>,
    conflicts: Vec<Atom>,
    /// Index of the package that asked for it.
    of: Option<usize>,
}

impl Chosen<'_> {
    /// Whether this package is what `atom` names, by its name or by what it provides.
    fn is(&self, atom: &Atom) -> bool {
        (self.candidate.name == atom.name && atom.admits(&self.candidate.version))
            || self.provides.iter().any(|p| atom.admits_provided(p))
    }
}

struct Search<'a> {
    universe: &'a Universe,
    exclude: BTreeSet<&'a str>,
    goals: Vec<Goal>,
    chosen: Vec<Chosen<'a>>,
    steps: usize,
    /// The failure seen after the most packages were taken: the likeliest to be what stands in the way.
    failure: Option<(usize, String)>,
}

impl<'a> Search<'a> {
    /// Fulfils the goals from `at` on.
    fn run(&mut self, mut at: usize) -> bool {
        while self
            .goals
            .get(at)
            .is_some_and(|goal| self.fulfilled(&goal.alternatives))
        {
            at += 1;
        }
        let Some(goal) = self.goals.get(at).cloned() else {
            return true;
        };
        let mut reasons = Vec::new();
        for candidate in self.candidates(&goal.alternatives) {
            self.steps += 1;
            if self.steps > STEPS_MAX || self.chosen.len() > PACKAGES_MAX {
                self.fail(format!(
                    "no solution after {STEPS_MAX} choices or with {PACKAGES_MAX} packages"
                ));
                return false;
            }
            let (goals, taken) = (self.goals.len(), self.chosen.len());
            match self.take(candidate, goal.of) {
                Ok(()) if self.run(at + 1) => return true,
                Ok(()) => {}
                Err(reason) => reasons.push(reason),
            }
            self.goals.truncate(goals);
            self.chosen.truncate(taken);
        }
        self.fail(self.explain(&goal, &reasons));
        false
    }

    fn fulfilled(&self, alternatives: &[Atom]) -> bool {
        alternatives.iter().any(|atom| {
            self.exclude.contains(atom.name.as_str())
                || self.chosen.iter().any(|chosen| chosen.is(atom))
        })
    }

    /// What could fulfil a relation, in the order of preference.
    fn candidates(&self, alternatives: &[Atom]) -> Vec<&'a Candidate> {
        let universe = self.universe;
        let mut candidates: Vec<&Candidate> = Vec::new();
        for atom in alternatives {
            candidates.extend(
                sorted(universe, &atom.name)
                    .into_iter()
                    .filter(|candidate| atom.admits(&candidate.version)),
            );
            for provider in universe.providers.get(&atom.name).into_iter().flatten() {
                let provides = |candidate: &&Candidate| {
                    provides(candidate)
                        .iter()
                        .any(|provided| atom.admits_provided(provided))
                };
                candidates.extend(sorted(universe, provider).into_iter().filter(provides));
            }
        }
        // A package that is an alternative's name and provides the other comes once.
        let mut seen = BTreeSet::new();
        candidates.retain(|candidate| {
            !self.exclude.contains(candidate.name.as_str())
                && seen.insert((candidate.name.as_str(), candidate.version.as_str()))
        });
        candidates
    }

    /// Takes a package, unless it cannot stand beside those that are taken.
    fn take(&mut self, candidate: &'a Candidate, of: Option<usize>) -> Result<(), String> {
        let named =
            |message: String| format!("{} {}: {message}", candidate.name, candidate.version);
        let needs = relation::parse(&candidate.needs).map_err(named)?;
        let conflicts = relation::parse(&candidate.conflicts)
            .map_err(named)?
            .into_iter()
            .flatten()
            .collect();
        let new = Chosen {
            candidate,
            provides: provides(candidate),
            conflicts,
            of,
        };
        for other in &self.chosen {
            if other.candidate.name == candidate.name {
                return Err(format!(
                    "{} {} is already taken{}",
                    other.candidate.name,
                    other.candidate.version,
                    self.because(other.of)
                ));
            }
            let against = |a: &Chosen, b: &Chosen| {
                let atom = a.conflicts.iter().find(|atom| b.is(atom))?;
                let named = atom.name == b.candidate.name;
                let who = if named {
                    String::new()
                } else {
                    format!(", which {} is", b.candidate.name)
                };
                Some(format!("{atom}{who}"))
            };
            if let Some(atom) = against(&new, other) {
                return Err(format!(
                    "{} {} conflicts with {atom}{}",
                    candidate.name,
                    candidate.version,
                    self.because(other.of)
                ));
            }
            if let Some(atom) = against(other, &new) {
                return Err(format!(
                    "{} {}{} conflicts with {atom}",
                    other.candidate.name,
                    other.candidate.version,
                    self.because(other.of)
                ));
            }
        }
        let index = self.chosen.len();
        self.chosen.push(new);
        self.goals
            .extend(needs.into_iter().map(|alternatives| Goal {
                alternatives,
                of: Some(index),
            }));
        Ok(())
    }

    /// ` (etcd-server -> adduser)`: how the recipe came to want something.
    fn because(&self, of: Option<usize>) -> String {
        let chain = self.chain(of);
        if chain.is_empty() {
            String::new()
        } else {
            format!(" (wanted by {})", chain.join(" -> "))
        }
    }

    fn chain(&self, mut of: Option<usize>) -> Vec<String> {
        let mut chain = Vec::new();
        while let Some(chosen) = of.and_then(|index| self.chosen.get(index)) {
            chain.push(chosen.candidate.name.clone());
            of = chosen.of;
        }
        chain.reverse();
        chain
    }

    fn explain(&self, goal: &Goal, reasons: &[String]) -> String {
        let wanted = relation::shown(&goal.alternatives);
        let who = match self.chain(goal.of) {
            chain if chain.is_empty() => format!("the recipe asks for {wanted}"),
            chain => format!("{} depends on {wanted}", chain.join(" -> ")),
        };
        if !reasons.is_empty() {
            return format!("{who}, but {}", reasons.join("; "));
        }
        let versions: Vec<String> = goal
            .alternatives
            .iter()
            .flat_map(|atom| sorted(self.universe, &atom.name))
            .map(|candidate| {
                format!(
                    "{} {} in {}",
                    candidate.name, candidate.version, candidate.suite
                )
            })
            .collect();
        match versions.is_empty() {
            true => format!("{who}, which no suite of the recipe has"),
            false => format!("{who}, but there is only {}", versions.join(", ")),
        }
    }

    fn fail(&mut self, message: String) {
        if self
            .failure
            .as_ref()
            .is_none_or(|(depth, _)| self.chosen.len() > *depth)
        {
            self.failure = Some((self.chosen.len(), message));
        }
    }
}

fn provides(candidate: &Candidate) -> Vec<Atom> {
    relation::parse(&candidate.provides)
        .unwrap_or_default()
        .into_iter()
        .flatten()
        .collect()
}

/// `; did you mean ...?`
fn nearest(universe: &Universe, name: &str) -> String {
    let limit = 1 + name.len() / 4;
    let mut near: Vec<(usize, &String)> = universe
        .packages
        .keys()
        .filter(|known| known.len().abs_diff(name.len()) <= limit)
        .map(|known| (distance(known, name), known))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    near.sort();
    let names: Vec<&str> = near.iter().take(3).map(|(_, name)| name.as_str()).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", names.join(", "))
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let value = (diagonal + usize::from(x != y))
                .min(left + 1)
                .min(*cell + 1);
            diagonal = *cell;
            *cell = value;
            left = value;
        }
        row[0] = i + 1;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
