//! `Type=`, `RemainAfterExit=`: when a service counts as started and as ended.

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::unit::Unit;
use crate::value;

/// When a service counts as started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceType {
    /// Once its process is made.
    #[default]
    Simple,
    /// Once its program runs.
    Exec,
    /// Once it has said READY=1.
    Notify,
    /// Once it has ended.
    Oneshot,
}

/// Type= and RemainAfterExit=.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceKind {
    /// Type=, if given.
    pub given: Option<ServiceType>,
    /// It stays active after its process has ended.
    pub remain_after_exit: bool,
}

impl ServiceKind {
    /// Type=, or what systemd takes for it: oneshot where there is no ExecStart=.
    pub fn kind(&self, has_start: bool) -> ServiceType {
        self.given.unwrap_or(if has_start {
            ServiceType::Simple
        } else {
            ServiceType::Oneshot
        })
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "Type",
        value: "simple|exec|notify|oneshot",
        documentation: "When the service counts as started. forking, notify-reload, idle and dbus come later; a unit that asks for them is refused (idle: taken as simple).",
        support: Support::Must(set_type),
    },
    Directive {
        section: "Service",
        name: "RemainAfterExit",
        value: "BOOLEAN",
        documentation: "The service stays active after its process has ended.",
        support: Support::Set(set_remain),
    },
    Directive {
        section: "Service",
        name: "ExitType",
        value: "main|cgroup",
        documentation: "Whether the service ends with its main process or with its last one.",
        support: Support::Later,
    },
    Directive {
        section: "Service",
        name: "PIDFile",
        value: "PATH",
        documentation: "Where a forking service writes its process number. Of use with Type=forking only.",
        support: Support::NoEffect,
    },
    Directive {
        section: "Service",
        name: "GuessMainPID",
        value: "BOOLEAN",
        documentation: "Of use with Type=forking only.",
        support: Support::NoEffect,
    },
    Directive {
        section: "Service",
        name: "BusName",
        value: "NAME",
        documentation: "Of use with Type=dbus only.",
        support: Support::NoEffect,
    },
];

fn set_type(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let kind = match value.text {
        "simple" | "idle" => ServiceType::Simple,
        "exec" => ServiceType::Exec,
        "notify" => ServiceType::Notify,
        "oneshot" => ServiceType::Oneshot,
        other => {
            let known = ["forking", "notify-reload", "dbus"].contains(&other);
            let why = if known {
                "is not implemented yet"
            } else {
                "is not a service type"
            };
            return Err(format!(
                "{other:?} {why}; write simple, exec, notify or oneshot"
            ));
        }
    };
    unit.service.kind.given = Some(kind);
    Ok(())
}

fn set_remain(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.kind.remain_after_exit = value::boolean(value.text)?;
    Ok(())
}
