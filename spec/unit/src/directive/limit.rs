//! `LimitNOFILE=` and its like: resource limits, setrlimit(2).

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::plan::{ExecPlan, Resource, Rlimit};
use crate::unit::Unit;
use crate::value;

/// The limits given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits(pub Vec<Rlimit>);

/// What a number means.
#[derive(Clone, Copy)]
enum Scale {
    Count,
    Bytes,
    Seconds,
    Microseconds,
}

const KINDS: &[(&str, Resource, Scale)] = &[
    ("LimitCPU", Resource::Cpu, Scale::Seconds),
    ("LimitFSIZE", Resource::Fsize, Scale::Bytes),
    ("LimitDATA", Resource::Data, Scale::Bytes),
    ("LimitSTACK", Resource::Stack, Scale::Bytes),
    ("LimitCORE", Resource::Core, Scale::Bytes),
    ("LimitRSS", Resource::Rss, Scale::Bytes),
    ("LimitNPROC", Resource::Nproc, Scale::Count),
    ("LimitNOFILE", Resource::Nofile, Scale::Count),
    ("LimitMEMLOCK", Resource::Memlock, Scale::Bytes),
    ("LimitAS", Resource::As, Scale::Bytes),
    ("LimitLOCKS", Resource::Locks, Scale::Count),
    ("LimitSIGPENDING", Resource::Sigpending, Scale::Count),
    ("LimitMSGQUEUE", Resource::Msgqueue, Scale::Bytes),
    ("LimitNICE", Resource::Nice, Scale::Count),
    ("LimitRTPRIO", Resource::Rtprio, Scale::Count),
    ("LimitRTTIME", Resource::Rttime, Scale::Microseconds),
];

const fn row(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "SOFT[:HARD]|infinity",
        documentation,
        support: Support::Confine(set),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row("LimitCPU", "Seconds of processor time."),
    row("LimitFSIZE", "Bytes of a file."),
    row("LimitDATA", "Bytes of data segment."),
    row("LimitSTACK", "Bytes of stack."),
    row("LimitCORE", "Bytes of a core file."),
    row("LimitRSS", "Of no effect in Linux."),
    row("LimitNPROC", "Processes of its user."),
    row("LimitNOFILE", "Open files; 1024:524288 by default."),
    row("LimitMEMLOCK", "Bytes of locked memory."),
    row("LimitAS", "Bytes of address space."),
    row("LimitLOCKS", "File locks."),
    row("LimitSIGPENDING", "Queued signals of its user."),
    row("LimitMSGQUEUE", "Bytes in POSIX message queues."),
    row("LimitNICE", "Ceiling of the nice value, as 20 - nice."),
    row("LimitRTPRIO", "Ceiling of the real-time priority."),
    row(
        "LimitRTTIME",
        "Microseconds of real-time scheduling without a pause.",
    ),
];

fn set(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let (_, resource, scale) = KINDS
        .iter()
        .find(|(name, ..)| *name == value.name)
        .ok_or("is not a limit")?;
    let limits = &mut unit.service.limits.0;
    limits.retain(|limit| limit.resource != *resource);
    if value.is_reset() {
        return Ok(());
    }
    let text = value.expanded();
    let (soft, hard) = text.split_once(':').unwrap_or((&text, &text));
    let (soft, hard) = (one(soft, *scale)?, one(hard, *scale)?);
    if soft > hard {
        return Err(format!("the soft limit in {text:?} is above the hard one"));
    }
    limits.push(Rlimit {
        resource: *resource,
        soft,
        hard,
    });
    Ok(())
}

fn one(text: &str, scale: Scale) -> Result<u64, String> {
    let text = text.trim();
    if text == "infinity" {
        return Ok(u64::MAX);
    }
    let plain = text.parse::<u64>().ok();
    match scale {
        Scale::Count => plain.ok_or_else(|| format!("{text:?} is not a number")),
        Scale::Bytes => value::size(text),
        Scale::Seconds => Ok(value::span_us(text)?.map_or(u64::MAX, |us| us.div_ceil(1_000_000))),
        Scale::Microseconds => match plain {
            Some(us) => Ok(us),
            None => Ok(value::span_us(text)?.unwrap_or(u64::MAX)),
        },
    }
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    if !planning.command.privileged {
        plan.rlimits = planning.unit.service.limits.0.clone();
    }
    if !plan
        .rlimits
        .iter()
        .any(|limit| limit.resource == Resource::Nofile)
    {
        plan.rlimits.push(Rlimit {
            resource: Resource::Nofile,
            soft: 1024,
            hard: 524_288,
        });
    }
    Ok(())
}
