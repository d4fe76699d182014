//! `MemoryMax=`, `CPUWeight=`, `TasksMax=`, `Slice=` and their like: the cgroup of a service,
//! systemd.resource-control(5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::name::{UnitName, UnitType};
use crate::plan::ExecPlan;
use crate::unit::Unit;
use crate::value::{self, Amount};

/// The cgroup of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Slice=, if given.
    pub slice: Option<String>,
    /// Amounts, by cgroup file.
    pub amounts: BTreeMap<String, Amount>,
    /// Other values that confine, by cgroup file.
    pub values: BTreeMap<String, String>,
    /// Values that confine nothing, by cgroup file.
    pub hints: BTreeMap<String, String>,
    /// Delegate=.
    pub delegate: bool,
}

/// Directives that set one cgroup file, and the file.
const FILES: &[(&str, &str)] = &[
    ("MemoryMin", "memory.min"),
    ("MemoryLow", "memory.low"),
    ("MemoryHigh", "memory.high"),
    ("MemoryMax", "memory.max"),
    ("MemorySwapMax", "memory.swap.max"),
    ("MemoryZSwapMax", "memory.zswap.max"),
    ("TasksMax", TASKS),
    ("CPUWeight", "cpu.weight"),
    ("IOWeight", "io.weight"),
    ("AllowedCPUs", "cpuset.cpus"),
    ("AllowedMemoryNodes", "cpuset.mems"),
];

/// The file of TasksMax=.
const TASKS: &str = "pids.max";
/// Tasks of a service that does not say: 15 % of what the machine allows.
const DEFAULT_TASKS: Amount = Amount::Permyriad(1500);

const fn amount(name: &'static str, documentation: &'static str) -> Directive {
    let value = "BYTES|PERCENT|infinity";
    Directive {
        section: "Service",
        name,
        value,
        documentation,
        support: Support::Confine(set_amount),
    }
}

const fn weight(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "1-10000|idle",
        documentation,
        support: Support::Set(set_weight),
    }
}

const fn cpus(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "RANGES",
        documentation,
        support: Support::Confine(set_ranges),
    }
}

const fn accounting(name: &'static str) -> Directive {
    let documentation = "Accounting is always on where the controller is.";
    Directive {
        section: "Service",
        name,
        value: "BOOLEAN",
        documentation,
        support: Support::NoEffect,
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "Slice",
        value: "UNIT.slice",
        documentation: "The branch of the cgroup tree: a-b.slice is below a.slice; system.slice by default.",
        support: Support::Confine(set_slice),
    },
    amount("MemoryMin", "Memory that is never taken away."),
    amount("MemoryLow", "Memory that is taken away last."),
    amount(
        "MemoryHigh",
        "Memory above which the service is slowed down.",
    ),
    amount("MemoryMax", "Memory above which the service is killed."),
    amount("MemorySwapMax", "Swap space."),
    amount("MemoryZSwapMax", "Compressed swap."),
    amount("TasksMax", "Processes and threads; 15% by default."),
    weight(
        "CPUWeight",
        "Share of processor time under contention; 100 by default.",
    ),
    weight(
        "IOWeight",
        "Share of disk time under contention; 100 by default.",
    ),
    Directive {
        section: "Service",
        name: "CPUQuota",
        value: "PERCENT",
        documentation: "Processor time; 100% is one processor.",
        support: Support::Confine(set_quota),
    },
    Directive {
        section: "Service",
        name: "CPUQuotaPeriodSec",
        value: "SPAN",
        documentation: "The period of CPUQuota=; 100 ms.",
        support: Support::Later,
    },
    cpus("AllowedCPUs", "Processors it may run on, such as 0-3,5."),
    cpus("AllowedMemoryNodes", "Memory nodes it may use."),
    Directive {
        section: "Service",
        name: "Delegate",
        value: "BOOLEAN|CONTROLLER...",
        documentation: "The service may make cgroups below its own, which belongs to its user.",
        support: Support::Set(set_delegate),
    },
    Directive {
        section: "Service",
        name: "OOMPolicy",
        value: "continue|stop|kill",
        documentation: "With kill, the whole service is killed when one process runs out of memory. stop is not told from continue yet.",
        support: Support::Set(set_oom_policy),
    },
    accounting("MemoryAccounting"),
    accounting("CPUAccounting"),
    accounting("TasksAccounting"),
    accounting("IOAccounting"),
];

fn file(name: &str) -> Result<String, String> {
    let found = FILES
        .iter()
        .find(|(directive, _)| *directive == name)
        .map(|(_, file)| file.to_string());
    found.ok_or_else(|| "has no cgroup file".into())
}

fn set_amount(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let amounts = &mut unit.service.resources.amounts;
    let file = file(value.name)?;
    match value.is_reset() {
        true => drop(amounts.remove(&file)),
        false => drop(amounts.insert(file, value::amount(&value.expanded())?)),
    }
    Ok(())
}

fn set_weight(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let hints = &mut unit.service.resources.hints;
    let file = file(value.name)?;
    match value.text {
        "" => drop(hints.remove(&file)),
        "idle" if file == "cpu.weight" => drop(hints.insert("cpu.idle".into(), "1".into())),
        text => drop(hints.insert(file, value::number(text, 1, 10_000)?.to_string())),
    }
    Ok(())
}

fn set_ranges(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let values = &mut unit.service.resources.values;
    let file = file(value.name)?;
    let ranges = value
        .text
        .split_ascii_whitespace()
        .collect::<Vec<_>>()
        .join(",");
    let number = |text: &str| {
        !text.is_empty() && text.len() < 6 && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let range = |text: &str| {
        text.split_once('-')
            .map_or(number(text), |(low, high)| number(low) && number(high))
    };
    match ranges.as_str() {
        "" => drop(values.remove(&file)),
        text if text.split(',').all(range) => drop(values.insert(file, ranges)),
        text => return Err(format!("{text:?} is not a list of ranges such as 0-3,5")),
    }
    Ok(())
}

fn set_quota(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let values = &mut unit.service.resources.values;
    match value.text {
        "" => drop(values.remove("cpu.max")),
        text => {
            // Hundredths of a percent of a period of 100,000 µs.
            let quota_us = u64::from(value::permyriad(text)?) * 10;
            if quota_us < 1000 {
                return Err(format!("{text:?} is less than 1%"));
            }
            values.insert("cpu.max".into(), format!("{quota_us} 100000"));
        }
    }
    Ok(())
}

fn set_slice(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let name = value.expanded();
    unit.service.resources.slice = match name.as_str() {
        "" => None,
        name => Some(slice_path(name).map(|_| name.to_string())?),
    };
    Ok(())
}

fn set_delegate(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.resources.delegate =
        value.is_reset() || value::boolean(value.text).unwrap_or(true);
    Ok(())
}

fn set_oom_policy(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let hints = &mut unit.service.resources.hints;
    match value.text {
        "kill" => drop(hints.insert("memory.oom.group".into(), "1".into())),
        "continue" | "stop" => drop(hints.remove("memory.oom.group")),
        other => return Err(format!("{other:?} is not continue, stop or kill")),
    }
    Ok(())
}

/// The path of a slice below the cgroup root: `a-b.slice` is `a.slice/a-b.slice`, `-.slice` the root itself.
pub fn slice_path(name: &str) -> Result<String, String> {
    let parsed = UnitName::parse(name)?;
    let refuse = || format!("{name:?} is not a slice");
    if parsed.kind != UnitType::Slice || parsed.instance.is_some() {
        return Err(refuse());
    }
    if parsed.prefix == "-" {
        return Ok(String::new());
    }
    let mut path = String::new();
    let mut prefix = String::new();
    for part in parsed.prefix.split('-') {
        if part.is_empty() {
            return Err(refuse());
        }
        prefix.push_str(part);
        path.push_str(&format!(
            "{}{prefix}.slice",
            if path.is_empty() { "" } else { "/" }
        ));
        prefix.push('-');
    }
    Ok(path)
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let unit = planning.unit;
    let resources = &unit.service.resources;
    let facts = planning.host.facts();
    let slice = slice_path(resources.slice.as_deref().unwrap_or("system.slice"))?;
    let parent = if slice.is_empty() { slice } else { slice + "/" };
    plan.cgroup.path = format!("{parent}{}", unit.name);
    plan.cgroup.delegate = resources.delegate;
    plan.cgroup.settings = resources.values.clone();
    plan.cgroup.hints = resources.hints.clone();
    // The node did not say how much it has: a share of it is no limit.
    let written = |amount: &Amount, whole: u64| match amount {
        Amount::Permyriad(_) if whole == 0 => "max".into(),
        amount => amount.cgroup_value(whole),
    };
    for (file, amount) in &resources.amounts {
        let whole = if file == TASKS {
            facts.tasks
        } else {
            facts.memory_bytes
        };
        let value = written(amount, whole);
        plan.cgroup.settings.insert(file.clone(), value);
    }
    if !resources.amounts.contains_key(TASKS) {
        let value = written(&DEFAULT_TASKS, facts.tasks);
        plan.cgroup.hints.insert(TASKS.into(), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_nest_by_their_dashes() {
        assert_eq!(slice_path("system.slice").as_deref(), Ok("system.slice"));
        assert_eq!(
            slice_path("a-b-c.slice").as_deref(),
            Ok("a.slice/a-b.slice/a-b-c.slice")
        );
        assert_eq!(slice_path("-.slice").as_deref(), Ok(""));
        assert!(slice_path("a--b.slice").is_err() && slice_path("a.service").is_err());
    }
}
