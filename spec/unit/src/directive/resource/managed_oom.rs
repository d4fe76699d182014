//! `ManagedOOMSwap=`, `ManagedOOMMemoryPressure=` and their like: which group is watched for want of memory, and which
//! of those below it is killed for that. What systemd-oomd does, PID 1 does here.
//!
//! Source: systemd.resource-control(5), systemd-oomd.service(8), oomd.conf(5).

use serde::{Deserialize, Serialize};

use crate::directive::{Directive, Support, Value};
use crate::unit::Unit;
use crate::value;

/// The limit of a group whose unit gives none, in hundredths of a percent: DefaultMemoryPressureLimit= of oomd.conf(5).
pub const DEFAULT_LIMIT: u32 = 6_000;
/// How long it is above that: DefaultMemoryPressureDurationSec= of oomd.conf(5).
pub const DEFAULT_DURATION_US: u64 = 30_000_000;
/// The shortest time that may be given.
const LEAST_DURATION_US: u64 = 1_000_000;
/// All of the time, in hundredths of a percent.
const WHOLE: u32 = 10_000;

/// Whether a unit is one of those to kill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// As any other.
    #[default]
    None,
    /// After all others.
    Avoid,
    /// Never.
    Omit,
}

/// What a unit says of want of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedOom {
    /// ManagedOOMSwap=, if given: whether it is `kill`.
    pub swap: Option<bool>,
    /// ManagedOOMMemoryPressure=, if given: whether it is `kill`.
    pub pressure: Option<bool>,
    /// ManagedOOMMemoryPressureLimit= in hundredths of a percent, if given and not 0.
    pub limit: Option<u32>,
    /// ManagedOOMMemoryPressureDurationSec=, if given; [`u64::MAX`] is for ever.
    pub duration_us: Option<u64>,
    /// ManagedOOMPreference=.
    pub preference: Preference,
}

const fn row(name: &'static str, value: &'static str, documentation: &'static str) -> Directive {
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
        "ManagedOOMSwap",
        "auto|kill",
        "With kill, when less than 10% of memory and of swap are left, the group below it with most swap is killed. A node without swap never comes so far.",
    ),
    row(
        "ManagedOOMMemoryPressure",
        "auto|kill",
        "With kill, when its memory pressure stays above its limit and memory is reclaimed, the group below it of which most is reclaimed is killed. The root and task.slice are watched without it; auto of -.slice or task.slice ends that.",
    ),
    row(
        "ManagedOOMMemoryPressureLimit",
        "PERCENT",
        "How much of the last 10 s all of it may have waited for memory; 60% by default, which 0% means too.",
    ),
    row(
        "ManagedOOMMemoryPressureDurationSec",
        "SPAN",
        "How long it may be above its limit, at least 1 s; 30 s by default.",
    ),
    row(
        "ManagedOOMPreference",
        "none|avoid|omit",
        "Whether it is killed as any other, after all others, or never for want of memory of a group above it. It holds for the groups that the unit makes below its own, too.",
    ),
];

fn kills(text: &str) -> Result<Option<bool>, String> {
    match text {
        "" => Ok(None),
        "auto" => Ok(Some(false)),
        "kill" => Ok(Some(true)),
        other => Err(format!("{other:?} is not auto or kill")),
    }
}

fn limit(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match value::permyriad(text)? {
        0 => Ok(None),
        limit if limit <= WHOLE => Ok(Some(limit)),
        _ => Err(format!(
            "{text:?} is more than all of the time; write 0% to 100%"
        )),
    }
}

fn duration(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let span = value::span_us(text)?.unwrap_or(u64::MAX);
    if span < LEAST_DURATION_US {
        return Err(format!("{text:?} is less than 1 s"));
    }
    Ok(Some(span))
}

fn preference(text: &str) -> Result<Preference, String> {
    match text {
        "" | "none" => Ok(Preference::None),
        "avoid" => Ok(Preference::Avoid),
        "omit" => Ok(Preference::Omit),
        other => Err(format!("{other:?} is not none, avoid or omit")),
    }
}

fn set(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let managed = &mut unit.service.resources.managed_oom;
    let text = value.text.trim();
    match value.name {
        "ManagedOOMSwap" => managed.swap = kills(text)?,
        "ManagedOOMMemoryPressure" => managed.pressure = kills(text)?,
        "ManagedOOMMemoryPressureLimit" => managed.limit = limit(text)?,
        "ManagedOOMMemoryPressureDurationSec" => managed.duration_us = duration(text)?,
        _ => managed.preference = preference(text)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directive::tests::read;

    fn of(text: &str) -> ManagedOom {
        let (unit, findings) = read(&format!("[Service]\n{text}"));
        assert_eq!(findings, []);
        unit.service.resources.managed_oom
    }

    #[test]
    fn what_a_unit_says_is_read_and_taken_back() {
        let text = "ManagedOOMSwap=kill\nManagedOOMMemoryPressure=kill\n\
                    ManagedOOMMemoryPressureLimit=12.5%\nManagedOOMMemoryPressureDurationSec=2min\n\
                    ManagedOOMPreference=avoid\n";
        let expected = ManagedOom {
            swap: Some(true),
            pressure: Some(true),
            limit: Some(1250),
            duration_us: Some(120_000_000),
            preference: Preference::Avoid,
        };
        assert_eq!(of(text), expected);
        let taken_back = format!(
            "{text}ManagedOOMSwap=\nManagedOOMMemoryPressure=auto\nManagedOOMMemoryPressureLimit=0%\n\
             ManagedOOMMemoryPressureDurationSec=\nManagedOOMPreference=\n"
        );
        let expected = ManagedOom {
            pressure: Some(false),
            ..ManagedOom::default()
        };
        assert_eq!(of(&taken_back), expected);
    }

    #[test]
    fn what_makes_no_sense_is_ignored_and_said() {
        for line in [
            "ManagedOOMSwap=yes",
            "ManagedOOMMemoryPressure=Kill",
            "ManagedOOMMemoryPressureLimit=101%",
            "ManagedOOMMemoryPressureLimit=60",
            "ManagedOOMMemoryPressureDurationSec=999ms",
            "ManagedOOMPreference=never",
        ] {
            let (unit, findings) = read(&format!("[Service]\n{line}\n"));
            assert_eq!(findings.len(), 1, "{line}");
            let said = findings[0].to_string();
            assert!(said.contains("/x:2: ManagedOOM"), "{said}");
            assert_eq!(unit.service.resources.managed_oom, ManagedOom::default());
        }
    }
}
