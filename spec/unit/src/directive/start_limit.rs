//! `StartLimitIntervalSec=`, `StartLimitBurst=`: how often a unit may be started in a while.

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::unit::Unit;
use crate::value;

/// How often a unit may be started in a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartLimit {
    /// The while; 0 means no limit.
    pub interval_us: u64,
    /// Starts within it; 0 means no limit.
    pub burst: u32,
}

impl Default for StartLimit {
    fn default() -> Self {
        Self {
            interval_us: 10_000_000,
            burst: 5,
        }
    }
}

const INTERVAL: &str =
    "The time in which no more than StartLimitBurst= starts are allowed; 0 for no limit.";
const BURST: &str = "Starts allowed within StartLimitIntervalSec=.";

const fn interval(section: &'static str, name: &'static str) -> Directive {
    Directive {
        section,
        name,
        value: "SPAN",
        documentation: INTERVAL,
        support: Support::Set(set_interval),
    }
}

const fn burst(section: &'static str) -> Directive {
    let (name, documentation) = ("StartLimitBurst", BURST);
    Directive {
        section,
        name,
        value: "NUMBER",
        documentation,
        support: Support::Set(set_burst),
    }
}

/// The directives of this family, in their old places too.
pub const ROWS: &[Directive] = &[
    interval("Unit", "StartLimitIntervalSec"),
    interval("Unit", "StartLimitInterval"),
    interval("Service", "StartLimitInterval"),
    interval("Service", "StartLimitIntervalSec"),
    burst("Unit"),
    burst("Service"),
];

fn set_interval(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.start_limit.interval_us = value::span_us(value.text)?.unwrap_or(u64::MAX);
    Ok(())
}

fn set_burst(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.start_limit.burst = value::number(value.text, 0, i64::from(u32::MAX))? as u32;
    Ok(())
}
