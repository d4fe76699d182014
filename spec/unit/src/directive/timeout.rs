//! `TimeoutStartSec=`, `TimeoutStopSec=`, `RuntimeMaxSec=`: how long a service may take.

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::unit::Unit;
use crate::value;

/// What systemd takes where nothing is given.
pub const DEFAULT_US: u64 = 90_000_000;

/// How long a service may take; [`u64::MAX`] is for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// TimeoutStartSec=, if given.
    pub start_us: Option<u64>,
    /// TimeoutStopSec=, if given.
    pub stop_us: Option<u64>,
    /// TimeoutAbortSec=, if given.
    pub abort_us: Option<u64>,
    /// RuntimeMaxSec=, if given.
    pub runtime_us: Option<u64>,
}

impl Timeouts {
    /// Time to start; a oneshot service has no limit unless it asks for one.
    pub fn start(&self, oneshot: bool) -> u64 {
        self.start_us
            .unwrap_or(if oneshot { u64::MAX } else { DEFAULT_US })
    }

    /// Time to stop.
    pub fn stop(&self) -> u64 {
        self.stop_us.unwrap_or(DEFAULT_US)
    }

    /// Time to die after a missed watchdog.
    pub fn abort(&self) -> u64 {
        self.abort_us.unwrap_or(self.stop())
    }
}

const fn row(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "SPAN",
        documentation,
        support: Support::Set(set),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row(
        "TimeoutStartSec",
        "Longest time from start to started: 90 s, or without end for oneshot.",
    ),
    row(
        "TimeoutStopSec",
        "Longest time from the request to stop until SIGKILL: 90 s.",
    ),
    row("TimeoutSec", "Both TimeoutStartSec= and TimeoutStopSec=."),
    row(
        "TimeoutAbortSec",
        "Longest time from a missed watchdog until SIGKILL; as TimeoutStopSec=.",
    ),
    row(
        "RuntimeMaxSec",
        "Longest time a service may be active; then it is ended and has failed.",
    ),
    Directive {
        section: "Service",
        name: "TimeoutStartFailureMode",
        value: "terminate|abort|kill",
        documentation: "How a service that starts too slowly is ended.",
        support: Support::Later,
    },
    Directive {
        section: "Service",
        name: "TimeoutStopFailureMode",
        value: "terminate|abort|kill",
        documentation: "How a service that stops too slowly is ended.",
        support: Support::Later,
    },
];

fn set(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let timeout = &mut unit.service.timeout;
    if value.is_reset() {
        match value.name {
            "TimeoutStartSec" => timeout.start_us = None,
            "TimeoutStopSec" => timeout.stop_us = None,
            "TimeoutAbortSec" => timeout.abort_us = None,
            "RuntimeMaxSec" => timeout.runtime_us = None,
            _ => (timeout.start_us, timeout.stop_us) = (None, None),
        }
        return Ok(());
    }
    let span = value::span_us(value.text)?.unwrap_or(u64::MAX);
    // systemd takes 0 as "for ever" for the start and the stop.
    let endless = if span == 0 { u64::MAX } else { span };
    match value.name {
        "TimeoutStartSec" => timeout.start_us = Some(endless),
        "TimeoutStopSec" => timeout.stop_us = Some(endless),
        "TimeoutAbortSec" => timeout.abort_us = Some(endless),
        "RuntimeMaxSec" => timeout.runtime_us = Some(endless),
        _ => (timeout.start_us, timeout.stop_us) = (Some(endless), Some(endless)),
    }
    Ok(())
}
