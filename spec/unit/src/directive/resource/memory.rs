//! `MemoryMax=`, `TasksMax=` and their like.

use super::{Resources, accounting};
use crate::directive::{Directive, Support, Value};
use crate::plan::ExecPlan;
use crate::specifier::Facts;
use crate::unit::Unit;
use crate::value::{self, Amount};

/// Directives that set one cgroup file, and the file.
const FILES: &[(&str, &str)] = &[
    ("MemoryMin", "memory.min"),
    ("MemoryLow", "memory.low"),
    ("MemoryHigh", "memory.high"),
    ("MemoryMax", MAX),
    ("MemorySwapMax", "memory.swap.max"),
    ("MemoryZSwapMax", "memory.zswap.max"),
    ("TasksMax", TASKS),
];

/// The file of MemoryMax= and, in its old name, MemoryLimit=.
pub(super) const MAX: &str = "memory.max";
/// The file of TasksMax=.
const TASKS: &str = "pids.max";
/// Tasks of a service that does not say: 15 % of what the machine allows.
const DEFAULT_TASKS: Amount = Amount::Permyriad(1500);

const DEFAULT: &str = "The same for units below a slice; a service has none.";

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

const fn for_children(name: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "BYTES|PERCENT|infinity",
        documentation: DEFAULT,
        support: Support::NoEffect,
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    amount("MemoryMin", "Memory that is never taken away."),
    amount("MemoryLow", "Memory that is taken away last."),
    amount(
        "MemoryHigh",
        "Memory above which the service is slowed down.",
    ),
    amount("MemoryMax", "Memory above which the service is killed."),
    Directive {
        section: "Service",
        name: "MemoryLimit",
        value: "BYTES|PERCENT|infinity",
        documentation: "The old name of MemoryMax=, which goes before it.",
        support: Support::Confine(set_limit),
    },
    amount("MemorySwapMax", "Swap space."),
    amount("MemoryZSwapMax", "Compressed swap."),
    Directive {
        section: "Service",
        name: "MemoryZSwapWriteback",
        value: "BOOLEAN",
        documentation: "Whether compressed swap may be written to the disk.",
        support: Support::Set(set_writeback),
    },
    amount("TasksMax", "Processes and threads; 15% by default."),
    for_children("DefaultMemoryMin"),
    for_children("DefaultMemoryLow"),
    for_children("DefaultStartupMemoryLow"),
    accounting("MemoryAccounting"),
    accounting("TasksAccounting"),
];

fn set_amount(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let amounts = &mut unit.service.resources.amounts;
    let file = FILES.iter().find(|(name, _)| *name == value.name);
    let file = file.ok_or("has no cgroup file")?.1;
    match value.is_reset() {
        true => drop(amounts.remove(file)),
        false => drop(amounts.insert(file.into(), value::amount(&value.expanded())?)),
    }
    Ok(())
}

fn set_limit(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let amounts = &mut unit.service.resources.old_amounts;
    match value.is_reset() {
        true => drop(amounts.remove(MAX)),
        false => drop(amounts.insert(MAX.into(), value::amount(&value.expanded())?)),
    }
    Ok(())
}

fn set_writeback(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let on = value.is_reset() || value::boolean(value.text)?;
    let hints = &mut unit.service.resources.hints;
    hints.insert("memory.zswap.writeback".into(), u8::from(on).to_string());
    Ok(())
}

/// What a file is given. A node that did not say how much it has: a share of it is no limit.
pub(super) fn written(amount: &Amount, whole: u64) -> String {
    match amount {
        Amount::Permyriad(_) if whole == 0 => "max".into(),
        amount => amount.cgroup_value(whole),
    }
}

pub(super) fn plan(resources: &Resources, facts: &Facts, plan: &mut ExecPlan) {
    let amounts = resources.old_amounts.iter().chain(&resources.amounts);
    for (file, amount) in amounts {
        let whole = if file == TASKS {
            facts.tasks
        } else {
            facts.memory_bytes
        };
        let value = written(amount, whole);
        plan.cgroup.settings.insert(file.clone(), value);
    }
}

/// TasksMax= of a service that does not say; a slice has no limit of its own then.
pub(super) fn plan_tasks(resources: &Resources, facts: &Facts, plan: &mut ExecPlan) {
    if !resources.amounts.contains_key(TASKS) {
        let value = written(&DEFAULT_TASKS, facts.tasks);
        plan.cgroup.hints.insert(TASKS.into(), value);
    }
}
