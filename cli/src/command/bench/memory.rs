//! The memory of PID 1 and of each unit, once a cluster has settled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use spec_api::LogQuery;

use super::{Bench, Figure, first, note};
use crate::exit::{Context, Error};
use crate::measure;

/// node-cloud with tools: the kernel shows the proportional share of a process to tracers only, so the unit
/// that reads it runs as root, which no recipe for production has.
const RECIPE: &str = "debug";
/// The unit of overlay `debug` that prints `pss UNIT KIB` for each process, then `pss end`.
const UNIT: &str = "proportional-memory.service";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(120);

impl Bench<'_> {
    /// The proportional set size of each unit on the first of three nodes.
    pub(super) fn memory(&self) -> Result<Vec<Figure>, Error> {
        let settle = self.args.settle;
        note(&format!("memory: three nodes, {settle} s to settle"));
        measure::run(&mut self.up(RECIPE, &[]))?;
        std::thread::sleep(Duration::from_secs(settle));
        let found = self.proportional();
        self.down()?;
        Ok(found?
            .into_iter()
            .map(|(unit, bytes)| {
                Figure::new(
                    format!("memory of {unit}"),
                    bytes as f64,
                    "bytes",
                    format!("Pss, {settle} s after `up`"),
                )
            })
            .collect())
    }

    fn proportional(&self) -> Result<BTreeMap<String, u64>, Error> {
        let running = self.running()?;
        let node = first(&running)?;
        let client = running.client(node)?;
        client
            .restart(UNIT)
            .context(format!("{} does not start {UNIT}", node.name))?;
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let mut lines = Vec::new();
            let query = LogQuery {
                unit: Some(UNIT.into()),
                ..LogQuery::default()
            };
            client
                .logs(&query, |entry| {
                    lines.push(entry.message);
                    true
                })
                .context(format!("{} does not give its journal", node.name))?;
            if lines.iter().any(|line| line == "pss end") {
                return Ok(sums(&lines));
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        Err(Error::Failed(format!(
            "{UNIT} did not end on {}",
            node.name
        )))
    }
}

/// Bytes by unit, from the lines of the unit.
fn sums(lines: &[String]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in lines {
        let Some((unit, kib)) = line
            .strip_prefix("pss ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let Ok(kib) = kib.parse::<u64>() else {
            continue;
        };
        let name = if unit == "init.scope" { "PID 1" } else { unit };
        *sums.entry(name.to_owned()).or_default() += kib * 1024;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processes_of_a_unit_are_summed() {
        let lines = [
            "pss init.scope 1024",
            "pss a.service 1",
            "pss a.service 2",
            "other",
            "pss end",
        ]
        .map(String::from);
        assert_eq!(
            sums(&lines),
            BTreeMap::from([
                ("PID 1".to_owned(), 1_048_576),
                ("a.service".to_owned(), 3072)
            ])
        );
    }
}
