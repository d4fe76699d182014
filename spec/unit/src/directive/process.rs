//! `UMask=`, `OOMScoreAdjust=`, `Nice=`, `IgnoreSIGPIPE=`: small properties of a process.

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::plan::ExecPlan;
use crate::unit::Unit;
use crate::value;

/// Small properties of a process; each where it is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// UMask=.
    pub umask: Option<u32>,
    /// OOMScoreAdjust=.
    pub oom_score_adjust: Option<i32>,
    /// Nice=.
    pub nice: Option<i32>,
    /// IgnoreSIGPIPE=.
    pub ignore_sigpipe: Option<bool>,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "UMask",
        value: "MODE",
        documentation: "Mode bits taken from new files; 0022.",
        support: Support::Confine(set_umask),
    },
    Directive {
        section: "Service",
        name: "OOMScoreAdjust",
        value: "-1000-1000",
        documentation: "How soon it is killed when memory runs out; 0.",
        support: Support::Set(set_number),
    },
    Directive {
        section: "Service",
        name: "Nice",
        value: "-20-19",
        documentation: "Its nice value.",
        support: Support::Set(set_number),
    },
    Directive {
        section: "Service",
        name: "IgnoreSIGPIPE",
        value: "BOOLEAN",
        documentation: "It starts with SIGPIPE ignored; yes.",
        support: Support::Set(set_sigpipe),
    },
];

fn set_umask(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let mode = value::mode(value.text)?;
    if mode > 0o777 {
        return Err(format!("{:?} is more than 0777", value.text));
    }
    unit.service.process.umask = Some(mode);
    Ok(())
}

fn set_number(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let process = &mut unit.service.process;
    let number = |low, high| -> Result<Option<i32>, String> {
        if value.is_reset() {
            Ok(None)
        } else {
            Ok(Some(value::number(value.text, low, high)? as i32))
        }
    };
    match value.name {
        "Nice" => process.nice = number(-20, 19)?,
        _ => process.oom_score_adjust = number(-1000, 1000)?,
    }
    Ok(())
}

fn set_sigpipe(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.process.ignore_sigpipe = Some(value::boolean(value.text)?);
    Ok(())
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let process = &planning.unit.service.process;
    plan.umask = process.umask.unwrap_or(plan.umask);
    // PID 1 protects itself; what it starts does not inherit that.
    plan.oom_score_adjust = Some(process.oom_score_adjust.unwrap_or(0));
    plan.nice = process.nice;
    plan.ignore_sigpipe = process.ignore_sigpipe.unwrap_or(true);
    Ok(())
}
