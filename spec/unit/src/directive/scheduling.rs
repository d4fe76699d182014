//! `CPUSchedulingPolicy=`, `CPUAffinity=`, `NUMAPolicy=`, `IOSchedulingClass=`, `TimerSlackNSec=`, `CoredumpFilter=` and
//! their like: how a service shares processors, memory nodes and disks. systemd.exec(5) "Scheduling".

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::plan::scheduling::{MAX_CPUS, MAX_NUMA_NODES};
use crate::plan::{
    CpuScheduling, ExecPlan, IoScheduling, NumaMode, NumaNodes, NumaPolicy, Scheduling,
};
use crate::unit::Unit;
use crate::value;

/// How a service shares processors, memory nodes and disks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulingSettings {
    /// CPUSchedulingPolicy=, CPUSchedulingPriority=: policy and priority, once one of them is given.
    pub cpu: Option<(u32, u32)>,
    /// CPUSchedulingResetOnFork=.
    pub reset_on_fork: bool,
    /// CPUAffinity=.
    pub cpus: BTreeSet<u32>,
    /// NUMAPolicy=.
    pub numa: Option<NumaMode>,
    /// NUMAMask=.
    pub nodes: NumaNodes,
    /// IOSchedulingClass=, IOSchedulingPriority=, once one of them is given.
    pub io: Option<IoScheduling>,
    /// TimerSlackNSec=.
    pub timer_slack_ns: Option<u64>,
    /// CoredumpFilter=.
    pub coredump_filter: Option<u32>,
}

const fn row(
    name: &'static str,
    value: &'static str,
    documentation: &'static str,
    set: fn(&mut Unit, &Value<'_>) -> Result<(), String>,
) -> Directive {
    Directive {
        section: "Service",
        name,
        value,
        documentation,
        support: Support::Set(set),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row(
        "CPUSchedulingPolicy",
        "other|batch|idle|fifo|rr",
        "How it shares the processors.",
        set_policy,
    ),
    row(
        "CPUSchedulingPriority",
        "0-99",
        "Its priority under fifo and rr, 99 goes first; any other policy has 0 only.",
        set_priority,
    ),
    row(
        "CPUSchedulingResetOnFork",
        "BOOLEAN",
        "Its children get the normal policy; of use with one of the two above.",
        set_reset,
    ),
    row(
        "CPUAffinity",
        "CPU[-CPU]...",
        "Processors it may run on; several lines add up. The value numa is not implemented.",
        set_cpus,
    ),
    row(
        "NUMAPolicy",
        "default|preferred|bind|interleave|local",
        "From which memory nodes it takes memory. A kernel without NUMA is no failure.",
        set_numa,
    ),
    row(
        "NUMAMask",
        "NODE[-NODE]...|all",
        "Memory nodes of NUMAPolicy=; several lines add up.",
        set_nodes,
    ),
    row(
        "IOSchedulingClass",
        "realtime|best-effort|idle",
        "How it shares the disks, where their scheduler knows classes.",
        set_io_class,
    ),
    row(
        "IOSchedulingPriority",
        "0-7",
        "Its priority within the class, 0 goes first; 4.",
        set_io_priority,
    ),
    row(
        "TimerSlackNSec",
        "TIME",
        "How late its timers may be; a number alone is nanoseconds.",
        set_timer_slack,
    ),
    row(
        "CoredumpFilter",
        "MAPPING|HEX...",
        "Which memory a core file holds: private-anonymous, shared-anonymous, private-file-backed, shared-file-backed, elf-headers, private-huge, shared-huge, private-dax, shared-dax, all, default, or bits.",
        set_coredump_filter,
    ),
];

const POLICIES: [(&str, u32); 5] = [
    ("other", 0),
    ("fifo", FIFO),
    ("rr", RR),
    ("batch", 3),
    ("idle", 5),
];
const FIFO: u32 = 1;
const RR: u32 = 2;

fn named<T: Copy>(table: &[(&str, T)], text: &str) -> Result<T, String> {
    let found = table.iter().find(|(name, _)| *name == text);
    let names = || table.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| format!("{text:?} is not one of {}", names().join(", ")))
}

/// A policy brings a priority given before it into its own range.
fn set_policy(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let cpu = &mut unit.service.scheduling.cpu;
    if value.is_reset() {
        *cpu = None;
        return Ok(());
    }
    let policy = named(&POLICIES, value.text)?;
    let (_, before) = cpu.unwrap_or_default();
    let priority = match policy {
        FIFO | RR => before.max(1),
        _ => 0,
    };
    *cpu = Some((policy, priority));
    Ok(())
}

fn set_priority(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let priority = value::number(value.text, 0, 99)? as u32;
    let cpu = &mut unit.service.scheduling.cpu;
    *cpu = Some((cpu.unwrap_or_default().0, priority));
    Ok(())
}

fn set_reset(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.scheduling.reset_on_fork = value::boolean(value.text)?;
    Ok(())
}

/// `0-3,8 9`: numbers and ranges of numbers below `most`.
fn members(text: &str, most: u32) -> Result<BTreeSet<u32>, String> {
    let mut set = BTreeSet::new();
    let words = text.split(|c: char| c.is_ascii_whitespace() || c == ',');
    for word in words.filter(|word| !word.is_empty()) {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number < most);
        let expected = || format!("{word:?} is not a number or range below {most}");
        let first = number(first).ok_or_else(expected)?;
        let last = number(last).ok_or_else(expected)?;
        if first > last {
            return Err(format!("range {word:?} ends before it begins"));
        }
        set.extend(first..=last);
    }
    Ok(set)
}

fn set_cpus(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let cpus = &mut unit.service.scheduling.cpus;
    match value.text {
        "" => cpus.clear(),
        "numa" => {
            return Err(
                "\"numa\" is not implemented; name the processors of the memory nodes".into(),
            );
        }
        text => cpus.extend(members(text, MAX_CPUS)?),
    }
    Ok(())
}

const MODES: [(&str, NumaMode); 5] = [
    ("default", NumaMode::Default),
    ("preferred", NumaMode::Preferred),
    ("bind", NumaMode::Bind),
    ("interleave", NumaMode::Interleave),
    ("local", NumaMode::Local),
];

fn set_numa(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let numa = &mut unit.service.scheduling.numa;
    *numa = match value.text {
        "" => None,
        text => Some(named(&MODES, text)?),
    };
    Ok(())
}

fn set_nodes(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let nodes = &mut unit.service.scheduling.nodes;
    match (value.text, &mut *nodes) {
        ("", _) => *nodes = NumaNodes::default(),
        ("all", _) => *nodes = NumaNodes::All,
        (text, NumaNodes::All) => drop(members(text, MAX_NUMA_NODES)?),
        (text, NumaNodes::Some(nodes)) => nodes.extend(members(text, MAX_NUMA_NODES)?),
    }
    Ok(())
}

const IO_CLASSES: [(&str, u32); 3] = [("realtime", 1), ("best-effort", 2), ("idle", 3)];
/// What the kernel takes for a process that says nothing.
const IO_DEFAULT: IoScheduling = IoScheduling {
    class: 2,
    priority: 4,
};

fn set_io_class(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let io = &mut unit.service.scheduling.io;
    *io = match value.text {
        "" => None,
        text => Some(IoScheduling {
            class: named(&IO_CLASSES, text)?,
            ..io.unwrap_or(IO_DEFAULT)
        }),
    };
    Ok(())
}

fn set_io_priority(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let io = &mut unit.service.scheduling.io;
    *io = match value.text {
        "" => None,
        text => Some(IoScheduling {
            priority: value::number(text, 0, 7)? as u32,
            ..io.unwrap_or(IO_DEFAULT)
        }),
    };
    Ok(())
}

fn set_timer_slack(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.scheduling.timer_slack_ns = match value.text {
        "" => None,
        text => value::span_ns(text)?,
    };
    Ok(())
}

/// Bits of `/proc/PID/coredump_filter`, core(5).
const MAPPINGS: [(&str, u32); 11] = [
    ("private-anonymous", 1),
    ("shared-anonymous", 1 << 1),
    ("private-file-backed", 1 << 2),
    ("shared-file-backed", 1 << 3),
    ("elf-headers", 1 << 4),
    ("private-huge", 1 << 5),
    ("shared-huge", 1 << 6),
    ("private-dax", 1 << 7),
    ("shared-dax", 1 << 8),
    ("default", 0x33),
    ("all", u32::MAX),
];

fn set_coredump_filter(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let filter = &mut unit.service.scheduling.coredump_filter;
    if value.is_reset() {
        *filter = None;
        return Ok(());
    }
    let mut mask = filter.unwrap_or(0);
    for word in value.text.split_ascii_whitespace() {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        mask |= match u32::from_str_radix(digits, 16) {
            Ok(bits) if hexadecimal => bits,
            _ => named(&MAPPINGS, word)?,
        };
    }
    *filter = Some(mask);
    Ok(())
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let settings = &planning.unit.service.scheduling;
    let numa = settings.numa.map(|mode| NumaPolicy {
        mode,
        nodes: settings.nodes.clone(),
    });
    if let Some(numa) = &numa {
        fitting(numa)?;
    }
    let cpu = settings.cpu.map(|(policy, priority)| CpuScheduling {
        policy,
        priority,
        reset_on_fork: settings.reset_on_fork,
    });
    plan.scheduling = Scheduling {
        cpu,
        cpus: settings.cpus.clone(),
        numa,
        io: settings.io,
        timer_slack_ns: settings.timer_slack_ns,
        coredump_filter: settings.coredump_filter,
    };
    Ok(())
}

/// That a policy has the memory nodes it needs.
fn fitting(numa: &NumaPolicy) -> Result<(), String> {
    let count = match &numa.nodes {
        NumaNodes::All => return Ok(()),
        NumaNodes::Some(nodes) => nodes.len(),
    };
    match (numa.mode, count) {
        (NumaMode::Bind | NumaMode::Interleave, 0) => {
            Err("NUMAPolicy=: bind and interleave need a NUMAMask=".into())
        }
        (NumaMode::Preferred, 2..) => {
            Err("NUMAPolicy=: preferred takes one memory node in NUMAMask=".into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
