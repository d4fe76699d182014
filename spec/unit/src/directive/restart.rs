//! `Restart=` and its delays: whether and when a service that ended is started again.

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::unit::Unit;
use crate::value;

/// After which ends a service is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// A clean end.
    OnSuccess,
    /// Any other end.
    OnFailure,
    /// A signal, a timeout or a missed watchdog.
    OnAbnormal,
    /// A missed watchdog.
    OnWatchdog,
    /// An unclean signal.
    OnAbort,
    /// Any.
    Always,
}

/// Restart= and its delays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// Restart=.
    pub policy: Restart,
    /// RestartSec=.
    pub delay_us: u64,
    /// RestartSteps=; 0 where it is not given.
    pub steps: u32,
    /// RestartMaxDelaySec=, if given.
    pub max_delay_us: Option<u64>,
}

/// A run shorter than this counts as a crash in a row.
pub const SHORT_RUN_US: u64 = 10_000_000;
/// Longest delay where RestartMaxDelaySec= is not given.
pub const DEFAULT_MAX_DELAY_US: u64 = 5_000_000;

impl Default for Restarts {
    fn default() -> Self {
        Self {
            policy: Restart::No,
            delay_us: 100_000,
            steps: 0,
            max_delay_us: None,
        }
    }
}

impl Restarts {
    /// The delay before the restart after `crashes` short runs in a row.
    ///
    /// With RestartSteps= and RestartMaxDelaySec= it grows as systemd's does: by the same factor each step, to the
    /// longest after all steps. Without them it doubles up to [`DEFAULT_MAX_DELAY_US`], so that a service in a crash
    /// loop that no start limit ends does not take the node with it.
    pub fn delay_after(&self, crashes: u32) -> u64 {
        if let (Some(max), 1..) = (self.max_delay_us, self.steps)
            && max > self.delay_us
        {
            if crashes >= self.steps {
                return max;
            }
            let base = self.delay_us.max(1) as f64;
            let grown = base * (max as f64 / base).powf(f64::from(crashes) / f64::from(self.steps));
            return (grown as u64).clamp(self.delay_us, max);
        }
        let doubled = self.delay_us.saturating_mul(1 << crashes.min(20));
        doubled.min(DEFAULT_MAX_DELAY_US.max(self.delay_us))
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "Restart",
        value: "no|on-success|on-failure|on-abnormal|on-watchdog|on-abort|always",
        documentation: "After which ends the service is started again.",
        support: Support::Set(set_policy),
    },
    Directive {
        section: "Service",
        name: "RestartSec",
        value: "SPAN",
        documentation: "Delay before the first restart; 100 ms by default.",
        support: Support::Set(set_delay),
    },
    Directive {
        section: "Service",
        name: "RestartSteps",
        value: "NUMBER",
        documentation: "Restarts in a row until the delay has grown to RestartMaxDelaySec=. Without both, the delay doubles with each run shorter than 10 s, to at most 5 s (or RestartSec=, if longer).",
        support: Support::Set(set_steps),
    },
    Directive {
        section: "Service",
        name: "RestartMaxDelaySec",
        value: "SPAN",
        documentation: "The longest delay.",
        support: Support::Set(set_max_delay),
    },
    Directive {
        section: "Service",
        name: "RestartMode",
        value: "normal|direct",
        documentation: "Whether the unit passes through inactive between two runs.",
        support: Support::Later,
    },
];

fn set_policy(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.restart.policy = match value.text {
        "no" => Restart::No,
        "on-success" => Restart::OnSuccess,
        "on-failure" => Restart::OnFailure,
        "on-abnormal" => Restart::OnAbnormal,
        "on-watchdog" => Restart::OnWatchdog,
        "on-abort" => Restart::OnAbort,
        "always" => Restart::Always,
        other => return Err(format!("{other:?} is not a restart policy")),
    };
    Ok(())
}

fn set_delay(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.restart.delay_us =
        value::span_us(value.text)?.ok_or("needs an end; use Restart=no instead")?;
    Ok(())
}

fn set_steps(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.restart.steps = value::number(value.text, 0, 1000)? as u32;
    Ok(())
}

fn set_max_delay(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.restart.max_delay_us = value::span_us(value.text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_steps_the_delay_doubles_to_the_cap() {
        let restarts = Restarts::default();
        let delays: Vec<u64> = (0..8)
            .map(|crashes| restarts.delay_after(crashes) / 1000)
            .collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn a_delay_of_zero_stays_and_a_long_one_is_kept() {
        assert_eq!(
            Restarts {
                delay_us: 0,
                ..Restarts::default()
            }
            .delay_after(9),
            0
        );
        assert_eq!(
            Restarts {
                delay_us: 60_000_000,
                ..Restarts::default()
            }
            .delay_after(9),
            60_000_000
        );
    }

    #[test]
    fn with_steps_it_grows_by_the_same_factor_to_the_longest() {
        let restarts = Restarts {
            delay_us: 1_000_000,
            steps: 3,
            max_delay_us: Some(8_000_000),
            ..Restarts::default()
        };
        let delays: Vec<u64> = (0..5)
            .map(|crashes| (restarts.delay_after(crashes) + 50_000) / 100_000)
            .collect();
        assert_eq!(delays, [10, 20, 40, 80, 80]);
    }
}
