//! `OOMPolicy=`, `MemoryPressureWatch=` and their like: what follows when memory is short.

use serde::{Deserialize, Serialize};

use super::Resources;
use crate::directive::{Directive, Support, Value};
use crate::plan::ExecPlan;
use crate::unit::Unit;
use crate::value;

/// What follows when the kernel kills a process of the service for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OomPolicy {
    /// It is said.
    Continue,
    /// The service is stopped.
    Stop,
    /// The kernel kills the whole service.
    Kill,
}

/// Whether a service is told of memory pressure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// MemoryPressureWatch=, if given: whether it is told, none for skip.
    pub watch: Option<Option<bool>>,
    /// MemoryPressureThresholdSec=, if given.
    pub threshold_us: Option<u64>,
}

/// What systemd takes where no threshold is given.
const THRESHOLD_US: u64 = 200_000;
/// The time in which the threshold is measured.
const WINDOW_US: u64 = 2_000_000;
/// Where the groups are.
const ROOT: &str = "/sys/fs/cgroup";

impl Resources {
    /// OOMPolicy=, or what systemd takes for it: a service that has groups of its own sees to them itself.
    pub fn oom_policy(&self) -> OomPolicy {
        self.oom.unwrap_or(match self.delegate {
            true => OomPolicy::Continue,
            false => OomPolicy::Stop,
        })
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "OOMPolicy",
        value: "continue|stop|kill",
        documentation: "When the kernel kills a process for want of memory: say it, stop the service (by default), or kill all of it.",
        support: Support::Set(set_policy),
    },
    Directive {
        section: "Service",
        name: "MemoryPressureWatch",
        value: "BOOLEAN|auto|skip",
        documentation: "Tell the service where to watch memory pressure, in MEMORY_PRESSURE_WATCH and MEMORY_PRESSURE_WRITE; auto is yes. Where it is not given nothing is told: systemd takes auto.",
        support: Support::Set(set_watch),
    },
    Directive {
        section: "Service",
        name: "MemoryPressureThresholdSec",
        value: "SPAN",
        documentation: "Wait for memory within 2 s above which the service is told; 200 ms by default.",
        support: Support::Set(set_threshold),
    },
];

fn set_policy(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.resources.oom = match value.text {
        "" => None,
        "continue" => Some(OomPolicy::Continue),
        "stop" => Some(OomPolicy::Stop),
        "kill" => Some(OomPolicy::Kill),
        other => return Err(format!("{other:?} is not continue, stop or kill")),
    };
    Ok(())
}

fn set_watch(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.resources.pressure.watch = match value.text {
        "" => None,
        "auto" => Some(Some(true)),
        "skip" => Some(None),
        text => Some(Some(value::boolean(text)?)),
    };
    Ok(())
}

fn set_threshold(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.resources.pressure.threshold_us = match value.text {
        "" => None,
        text => {
            let span = value::span_us(text)?.ok_or("infinity is no threshold")?;
            if span == 0 || span > WINDOW_US {
                return Err(format!("{text:?} is not more than 0 and at most 2 s"));
            }
            Some(span)
        }
    };
    Ok(())
}

pub(super) fn plan(resources: &Resources, plan: &mut ExecPlan) {
    if resources.oom_policy() == OomPolicy::Kill {
        let file = "memory.oom.group";
        plan.cgroup.hints.insert(file.into(), "1".into());
    }
    let watch = resources.pressure.watch.flatten();
    let mut add = |name: &str, value: String| drop(plan.environment.insert(name.into(), value));
    match watch {
        Some(false) => add("MEMORY_PRESSURE_WATCH", "/dev/null".into()),
        Some(true) => {
            let file = format!("{ROOT}/{}/memory.pressure", plan.cgroup.path);
            add("MEMORY_PRESSURE_WATCH", file);
            let threshold = resources.pressure.threshold_us.unwrap_or(THRESHOLD_US);
            let line = format!("some {threshold} {WINDOW_US}\0");
            add("MEMORY_PRESSURE_WRITE", base64(line.as_bytes()));
            plan.cgroup.pressure = true;
        }
        None => {}
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS
                .get((bits >> (18 - 6 * place)) as usize & 63)
                .copied();
            let letter = letter.filter(|_| place <= chunk.len());
            out.push(char::from(letter.unwrap_or(b'=')));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_length() {
        for (text, wanted) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(text.as_bytes()), wanted);
        }
    }
}
