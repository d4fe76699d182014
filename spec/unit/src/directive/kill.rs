//! `KillMode=`, `KillSignal=` and their like: how the processes of a service are ended, systemd.kill(5).

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::unit::Unit;
use crate::value;

/// Which processes are ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillMode {
    /// All in the cgroup.
    #[default]
    ControlGroup,
    /// KillSignal= to the main process, SIGKILL to all.
    Mixed,
    /// The main process.
    Process,
    /// None.
    None,
}

/// How the processes of a service are ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// KillMode=.
    pub mode: KillMode,
    /// KillSignal=.
    pub signal: i32,
    /// RestartKillSignal=, if given.
    pub restart_signal: Option<i32>,
    /// FinalKillSignal=.
    pub final_signal: i32,
    /// WatchdogSignal=.
    pub watchdog_signal: i32,
    /// SendSIGKILL=.
    pub send_sigkill: bool,
    /// SendSIGHUP=.
    pub send_sighup: bool,
}

impl Default for Kill {
    fn default() -> Self {
        Self {
            mode: KillMode::ControlGroup,
            signal: 15,
            restart_signal: None,
            final_signal: 9,
            watchdog_signal: 6,
            send_sigkill: true,
            send_sighup: false,
        }
    }
}

const fn signal(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "SIGNAL",
        documentation,
        support: Support::Set(set_signal),
    }
}

const fn flag(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "BOOLEAN",
        documentation,
        support: Support::Set(set_flag),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "KillMode",
        value: "control-group|mixed|process|none",
        documentation: "Which processes are ended when the service stops.",
        support: Support::Set(set_mode),
    },
    signal(
        "KillSignal",
        "The first signal when the service stops; SIGTERM.",
    ),
    signal(
        "RestartKillSignal",
        "The first signal when the service stops to be restarted; as KillSignal=.",
    ),
    signal(
        "FinalKillSignal",
        "The signal after TimeoutStopSec=; SIGKILL.",
    ),
    signal(
        "WatchdogSignal",
        "The signal after a missed watchdog; SIGABRT.",
    ),
    flag(
        "SendSIGKILL",
        "Send the final signal to what is left after TimeoutStopSec=.",
    ),
    flag("SendSIGHUP", "Send SIGHUP right after the first signal."),
];

fn set_mode(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.kill.mode = match value.text {
        "control-group" => KillMode::ControlGroup,
        "mixed" => KillMode::Mixed,
        "process" => KillMode::Process,
        "none" => KillMode::None,
        other => {
            return Err(format!(
                "{other:?} is not control-group, mixed, process or none"
            ));
        }
    };
    Ok(())
}

fn set_signal(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let signal = value::signal(value.text)?;
    let kill = &mut unit.service.kill;
    match value.name {
        "KillSignal" => kill.signal = signal,
        "RestartKillSignal" => kill.restart_signal = Some(signal),
        "FinalKillSignal" => kill.final_signal = signal,
        _ => kill.watchdog_signal = signal,
    }
    Ok(())
}

fn set_flag(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let on = value::boolean(value.text)?;
    match value.name {
        "SendSIGKILL" => unit.service.kill.send_sigkill = on,
        _ => unit.service.kill.send_sighup = on,
    }
    Ok(())
}
