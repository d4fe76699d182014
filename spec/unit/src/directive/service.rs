//! `Type=`, `PIDFile=`, `GuessMainPID=`, `RemainAfterExit=`: when a service counts as started and as ended.

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::unit::Unit;
use crate::value;

const SIGHUP: i32 = 1;

/// When a service counts as started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceType {
    /// Once its process is made.
    #[default]
    Simple,
    /// The same, and its program runs once no job is left, or after a few seconds.
    Idle,
    /// Once its program runs.
    Exec,
    /// Once its process has ended and left a daemon behind.
    Forking,
    /// Once it has said READY=1.
    Notify,
    /// The same, and it reloads by a signal and says when it has.
    NotifyReload,
    /// Once it has ended.
    Oneshot,
}

impl ServiceType {
    /// Whether it says READY=1.
    pub fn notifies(self) -> bool {
        matches!(self, Self::Notify | Self::NotifyReload)
    }
}

/// Type= and its like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceKind {
    /// Type=, if given.
    pub given: Option<ServiceType>,
    /// PIDFile=; of Type=forking below [`PID_FILES`].
    pub pid_file: Option<String>,
    /// GuessMainPID=.
    pub guess_main_pid: bool,
    /// ReloadSignal=.
    pub reload_signal: i32,
    /// It stays active after its process has ended.
    pub remain_after_exit: bool,
    /// ExitType=cgroup: it runs as long as any of its processes does.
    pub ends_with_group: bool,
}

impl Default for ServiceKind {
    fn default() -> Self {
        Self {
            given: None,
            pid_file: None,
            guess_main_pid: true,
            reload_signal: SIGHUP,
            remain_after_exit: false,
            ends_with_group: false,
        }
    }
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
        value: "simple|idle|exec|forking|notify|notify-reload|oneshot",
        documentation: "When the service counts as started. With idle its program runs once no job is left, after 5 s at the latest. dbus comes later: a unit that asks for it is refused.",
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
        documentation: "Whether the service ends with its main process or with its last one, which one of Type=oneshot cannot.",
        support: Support::Must(set_exit_type),
    },
    Directive {
        section: "Service",
        name: "PIDFile",
        value: "PATH",
        documentation: "Where a service of Type=forking writes the number of its main process, which must be one of its own. Below /run: PID 1 reads it and waits for no disk.",
        support: Support::Must(set_pid_file),
    },
    Directive {
        section: "Service",
        name: "GuessMainPID",
        value: "BOOLEAN",
        documentation: "Without PIDFile=, a service of Type=forking that leaves one process behind has that as its main process.",
        support: Support::Set(set_guess),
    },
    Directive {
        section: "Service",
        name: "ReloadSignal",
        value: "SIGNAL",
        documentation: "The signal by which a service of Type=notify-reload reloads; SIGHUP.",
        support: Support::Set(set_reload_signal),
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
        "simple" => ServiceType::Simple,
        "idle" => ServiceType::Idle,
        "exec" => ServiceType::Exec,
        "forking" => ServiceType::Forking,
        "notify" => ServiceType::Notify,
        "notify-reload" => ServiceType::NotifyReload,
        "oneshot" => ServiceType::Oneshot,
        other => {
            let why = match other {
                "dbus" => "is not implemented yet",
                _ => "is not a service type",
            };
            return Err(format!(
                "{other:?} {why}; write simple, idle, exec, forking, notify, notify-reload or oneshot"
            ));
        }
    };
    unit.service.kind.given = Some(kind);
    Ok(())
}

/// Where a service of Type=forking may have its PIDFile=.
pub const PID_FILES: &str = "/run/";

fn set_pid_file(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let text = value.expanded();
    let path = match text.as_str() {
        "" => None,
        text if text.starts_with('/') => Some(value::path(text)?),
        text => Some(value::path(&format!("{PID_FILES}{text}"))?),
    };
    let path = path.map(|path| match path.strip_prefix("/var/run/") {
        Some(rest) => format!("{PID_FILES}{rest}"),
        None => path,
    });
    unit.service.kind.pid_file = path;
    Ok(())
}

fn set_reload_signal(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.kind.reload_signal = value::signal(value.text)?;
    Ok(())
}

fn set_guess(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.kind.guess_main_pid = value::boolean(value.text)?;
    Ok(())
}

fn set_exit_type(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.kind.ends_with_group = match value.text {
        "" | "main" => false,
        "cgroup" => true,
        other => return Err(format!("{other:?} is not main or cgroup")),
    };
    Ok(())
}

fn set_remain(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.kind.remain_after_exit = value::boolean(value.text)?;
    Ok(())
}
