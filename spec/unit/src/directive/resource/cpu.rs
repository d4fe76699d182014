//! `CPUWeight=`, `CPUQuota=`, `AllowedCPUs=` and their like.

use serde::{Deserialize, Serialize};

use super::{Resources, accounting};
use crate::directive::{Directive, Support, Value};
use crate::plan::ExecPlan;
use crate::unit::Unit;
use crate::value;

/// The file of CPUWeight= and, in its old name, CPUShares=.
const WEIGHT: &str = "cpu.weight";
/// What systemd takes where no period is given.
const PERIOD_US: u64 = 100_000;
/// The kernel's shortest and longest period; the shortest quota too.
const PERIODS_US: (u64, u64) = (1_000, 1_000_000);

/// CPUQuota= and CPUQuotaPeriodSec=.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Hundredths of a percent of one processor.
    pub permyriad: Option<u32>,
    /// In which time.
    pub period_us: Option<u64>,
}

impl Quota {
    /// What `cpu.max` is given: microseconds, in so many.
    fn written(&self) -> Option<String> {
        let share = u64::from(self.permyriad?).max(1);
        let (low, high) = PERIODS_US;
        // Long enough for a quota that the kernel takes.
        let least = (low * 10_000).div_ceil(share);
        let period = self.period_us.unwrap_or(PERIOD_US);
        let period = period.max(least).clamp(low, high);
        let quota = period.saturating_mul(share) / 10_000;
        Some(format!("{} {period}", quota.max(low)))
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

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "CPUWeight",
        value: "1-10000|idle",
        documentation: "Share of processor time under contention; 100 by default.",
        support: Support::Set(set_weight),
    },
    Directive {
        section: "Service",
        name: "CPUShares",
        value: "2-262144",
        documentation: "The old name of CPUWeight=, which goes before it: 1024 are a weight of 100.",
        support: Support::Set(set_shares),
    },
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
        documentation: "The time in which CPUQuota= is measured: 1 ms to 1 s, 100 ms by default; longer where the quota would be less than 1 ms.",
        support: Support::Confine(set_period),
    },
    cpus("AllowedCPUs", "Processors it may run on, such as 0-3,5."),
    cpus("AllowedMemoryNodes", "Memory nodes it may use."),
    accounting("CPUAccounting"),
];

fn set_weight(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let hints = &mut unit.service.resources.hints;
    let (idle, weight) = ("cpu.idle", WEIGHT);
    let number = match value.text {
        "" | "idle" => None,
        text => Some(value::number(text, 1, 10_000)?),
    };
    hints.remove(idle);
    hints.remove(weight);
    match number {
        Some(number) => drop(hints.insert(weight.into(), number.to_string())),
        None if value.text == "idle" => drop(hints.insert(idle.into(), "1".into())),
        None => {}
    }
    Ok(())
}

fn set_shares(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let old = &mut unit.service.resources.old_hints;
    if value.is_reset() {
        old.remove(WEIGHT);
        return Ok(());
    }
    let shares = value::number(value.text, 2, 262_144)?;
    let weight = (shares * 100 / 1024).clamp(1, 10_000);
    old.insert(WEIGHT.into(), weight.to_string());
    Ok(())
}

fn set_ranges(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let values = &mut unit.service.resources.values;
    let file = match value.name {
        "AllowedCPUs" => "cpuset.cpus",
        _ => "cpuset.mems",
    };
    match ranges(value.text)? {
        ranges if ranges.is_empty() => drop(values.remove(file)),
        ranges => drop(values.insert(file.into(), ranges)),
    }
    Ok(())
}

/// A list of ranges as the kernel reads it.
pub(super) fn ranges(text: &str) -> Result<String, String> {
    let ranges = text.split_ascii_whitespace().collect::<Vec<_>>().join(",");
    let number = |text: &str| {
        !text.is_empty() && text.len() < 6 && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let range = |text: &str| {
        text.split_once('-')
            .map_or(number(text), |(low, high)| number(low) && number(high))
    };
    if !ranges.is_empty() && !ranges.split(',').all(range) {
        return Err(format!("{ranges:?} is not a list of ranges such as 0-3,5"));
    }
    Ok(ranges)
}

fn set_quota(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let share = match value.text {
        "" => None,
        text => Some(value::permyriad(text)?),
    };
    if share.is_some_and(|share| share < 100) {
        return Err(format!("{:?} is less than 1%", value.text));
    }
    unit.service.resources.quota.permyriad = share;
    Ok(())
}

fn set_period(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.resources.quota.period_us = match value.text {
        "" => None,
        text => Some(value::span_us(text)?.ok_or("infinity is no period")?),
    };
    Ok(())
}

pub(super) fn plan(resources: &Resources, plan: &mut ExecPlan) {
    if let Some(quota) = resources.quota.written() {
        plan.cgroup.settings.insert("cpu.max".into(), quota);
    }
    let idle = plan.cgroup.hints.contains_key("cpu.idle");
    for (file, value) in resources.old_hints.iter().filter(|_| !idle) {
        let hints = &mut plan.cgroup.hints;
        hints.entry(file.clone()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_what_the_kernel_takes() {
        let written = |permyriad, period_us| {
            Quota {
                permyriad: Some(permyriad),
                period_us,
            }
            .written()
            .unwrap()
        };
        assert_eq!(written(2000, None), "20000 100000");
        assert_eq!(written(25_000, Some(10_000)), "25000 10000");
        assert_eq!(
            written(2000, Some(1_000)),
            "1000 5000",
            "a quota of 1 ms at least"
        );
        assert_eq!(written(5000, Some(5_000_000)), "500000 1000000");
        assert_eq!(
            written(u32::MAX, Some(u64::MAX)).split(' ').nth(1),
            Some("1000000")
        );
        assert_eq!(
            Quota {
                permyriad: None,
                period_us: Some(1)
            }
            .written(),
            None
        );
    }
}
