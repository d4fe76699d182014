//! `StartupCPUWeight=`, `StartupMemoryMax=` and their like: what holds instead while the node starts and stops.

use super::{Resources, cpu, later, memory};
use crate::directive::{Directive, Support, Value};
use crate::plan::{ExecPlan, Startup};
use crate::specifier::Facts;
use crate::unit::Unit;
use crate::value;

/// Directives, and the cgroup file of each.
const FILES: &[(&str, &str)] = &[
    ("StartupMemoryLow", "memory.low"),
    ("StartupMemoryHigh", "memory.high"),
    ("StartupMemoryMax", "memory.max"),
    ("StartupMemorySwapMax", "memory.swap.max"),
    ("StartupMemoryZSwapMax", "memory.zswap.max"),
    ("StartupCPUWeight", "cpu.weight"),
    ("StartupIOWeight", "io.weight"),
    ("StartupAllowedCPUs", "cpuset.cpus"),
    ("StartupAllowedMemoryNodes", "cpuset.mems"),
];

const DOCUMENTATION: &str = "As the one without Startup, until the jobs of the boot are done and from the beginning of a shutdown.";

const fn row(
    name: &'static str,
    value: &'static str,
    set: fn(&mut Unit, &Value<'_>) -> Result<(), String>,
) -> Directive {
    Directive {
        section: "Service",
        name,
        value,
        documentation: DOCUMENTATION,
        support: Support::Confine(set),
    }
}

const AMOUNT: &str = "BYTES|PERCENT|infinity";
const OLD: &str = "The old name of another one, which is not translated.";

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row("StartupMemoryLow", AMOUNT, set_amount),
    row("StartupMemoryHigh", AMOUNT, set_amount),
    row("StartupMemoryMax", AMOUNT, set_amount),
    row("StartupMemorySwapMax", AMOUNT, set_amount),
    row("StartupMemoryZSwapMax", AMOUNT, set_amount),
    Directive {
        section: "Service",
        name: "StartupCPUWeight",
        value: "1-10000",
        documentation: "CPUWeight= until the jobs of the boot are done, and from the beginning of a shutdown; idle is not possible here.",
        support: Support::Set(set_weight),
    },
    Directive {
        section: "Service",
        name: "StartupIOWeight",
        value: "1-10000",
        documentation: "IOWeight= until the jobs of the boot are done, and from the beginning of a shutdown.",
        support: Support::Set(set_weight),
    },
    row("StartupAllowedCPUs", "RANGES", set_ranges),
    row("StartupAllowedMemoryNodes", "RANGES", set_ranges),
    later("StartupCPUShares", "2-262144", OLD),
    later("StartupBlockIOWeight", "10-1000", OLD),
];

fn file(name: &str) -> Result<String, String> {
    let found = FILES.iter().find(|(directive, _)| *directive == name);
    found
        .map(|(_, file)| file.to_string())
        .ok_or_else(|| "has no cgroup file".into())
}

fn set_amount(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let amounts = &mut unit.service.resources.startup_amounts;
    let file = file(value.name)?;
    match value.is_reset() {
        true => drop(amounts.remove(&file)),
        false => drop(amounts.insert(file, value::amount(&value.expanded())?)),
    }
    Ok(())
}

fn set_weight(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let values = &mut unit.service.resources.startup_values;
    let file = file(value.name)?;
    match value.text {
        "" => drop(values.remove(&file)),
        text => drop(values.insert(file, value::number(text, 1, 10_000)?.to_string())),
    }
    Ok(())
}

fn set_ranges(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let values = &mut unit.service.resources.startup_values;
    let file = file(value.name)?;
    match cpu::ranges(value.text)? {
        ranges if ranges.is_empty() => drop(values.remove(&file)),
        ranges => drop(values.insert(file, ranges)),
    }
    Ok(())
}

/// What the kernel gives a new group.
fn default(file: &str) -> &'static str {
    match file {
        "cpu.weight" | "io.weight" => "100",
        "memory.low" => "0",
        "cpuset.cpus" | "cpuset.mems" => "",
        _ => "max",
    }
}

pub(super) fn plan(resources: &Resources, facts: &Facts, plan: &mut ExecPlan) {
    let amounts = resources.startup_amounts.iter();
    let amounts = amounts.map(|(file, amount)| {
        let starting = memory::written(amount, facts.memory_bytes);
        (file.clone(), starting)
    });
    let values = resources.startup_values.clone();
    let group = &mut plan.cgroup;
    for (file, starting) in amounts.chain(values) {
        // A group that is idle has no weight; idle goes first and comes back last.
        if file == "cpu.weight" && group.hints.contains_key("cpu.idle") {
            let idle = Startup {
                starting: "0".into(),
                running: "1".into(),
            };
            group.startup.insert("cpu.idle".into(), idle);
        }
        let running = group.settings.get(&file).or(group.hints.get(&file));
        let running = running.cloned().unwrap_or_else(|| default(&file).into());
        group.startup.insert(file, Startup { starting, running });
    }
}
