//! `FailureAction=`, `SuccessAction=`, `StartLimitAction=`, `JobTimeoutAction=` and their like: what becomes of the node
//! when a unit ends, and how long a job may wait. systemd.unit(5).

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::control::ShutdownAction;
use crate::unit::Unit;
use crate::value;

/// Longest RebootArgument=.
const MAX_ARGUMENT: usize = 255;

/// How the node ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Haste {
    /// Every unit is stopped first.
    Orderly,
    /// `-force`: units are not stopped, their processes are; file systems are left clean.
    Force,
    /// `-immediate`: at once, whatever is lost.
    Immediate,
}

/// What becomes of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What follows.
    pub shutdown: ShutdownAction,
    /// And how.
    pub haste: Haste,
}

/// What becomes of the node when this unit ends; none is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actions {
    /// FailureAction=.
    pub failure: Option<Action>,
    /// SuccessAction=.
    pub success: Option<Action>,
    /// StartLimitAction=.
    pub start_limit: Option<Action>,
    /// JobTimeoutAction=.
    pub job_timeout: Option<Action>,
    /// RebootArgument=.
    pub reboot_argument: Option<String>,
    /// JobTimeoutRebootArgument=.
    pub job_reboot_argument: Option<String>,
    /// JobTimeoutSec=: how long a job may take from when it was asked for; none is for ever.
    pub job_us: Option<u64>,
    /// JobRunningTimeoutSec=, if given: how long it may take once it is its turn; [`u64::MAX`] is for ever.
    pub job_running_us: Option<u64>,
}

impl Actions {
    /// How long a job may take once it is its turn.
    pub fn running_us(&self) -> Option<u64> {
        self.job_running_us.filter(|span| *span != u64::MAX)
    }
}

const VALUES: &str = "none|reboot|poweroff|halt|exit[-force|-immediate]";

const fn action(
    section: &'static str,
    name: &'static str,
    documentation: &'static str,
) -> Directive {
    Directive {
        section,
        name,
        value: VALUES,
        documentation,
        support: Support::Set(set_action),
    }
}

const fn argument(
    section: &'static str,
    name: &'static str,
    documentation: &'static str,
) -> Directive {
    Directive {
        section,
        name,
        value: "TEXT",
        documentation,
        support: Support::Set(set_argument),
    }
}

const fn span(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Unit",
        name,
        value: "SPAN",
        documentation,
        support: Support::Set(set_span),
    }
}

const fn status(name: &'static str) -> Directive {
    Directive {
        section: "Unit",
        name,
        value: "NUMBER",
        documentation: "exit powers the node off: there is nobody to be told a status.",
        support: Support::NoEffect,
    }
}

/// The directives of this family, in their old places too.
pub const ROWS: &[Directive] = &[
    action(
        "Unit",
        "FailureAction",
        "What becomes of the node when the unit has failed. exit powers off, as in systemd on a machine; -force stops no unit, -immediate writes nothing. soft-reboot and kexec are not possible and ignored: the root is one verified image.",
    ),
    action("Service", "FailureAction", "The same, in its old place."),
    action(
        "Unit",
        "SuccessAction",
        "What becomes of the node when the unit has ended well.",
    ),
    action(
        "Unit",
        "StartLimitAction",
        "What becomes of the node when the unit is started more often than StartLimitBurst= allows.",
    ),
    action("Service", "StartLimitAction", "The same, in its old place."),
    action(
        "Unit",
        "JobTimeoutAction",
        "What becomes of the node when JobTimeoutSec= or JobRunningTimeoutSec= is over.",
    ),
    argument(
        "Unit",
        "RebootArgument",
        "What the firmware is told at a reboot by one of these actions.",
    ),
    argument("Service", "RebootArgument", "The same, in its old place."),
    argument(
        "Unit",
        "JobTimeoutRebootArgument",
        "The same for JobTimeoutAction=.",
    ),
    span(
        "JobTimeoutSec",
        "Longest time from the request to start or stop until it is done; then it is given up, and the unit left as it is.",
    ),
    span(
        "JobRunningTimeoutSec",
        "Longest time of a start or stop once it is its turn; as JobTimeoutSec=.",
    ),
    status("FailureActionExitStatus"),
    status("SuccessActionExitStatus"),
];

/// An action by its name.
fn parse(text: &str) -> Result<Option<Action>, String> {
    if text == "none" {
        return Ok(None);
    }
    let endings = [("-force", Haste::Force), ("-immediate", Haste::Immediate)];
    let ending = endings
        .into_iter()
        .find_map(|(ending, haste)| Some((text.strip_suffix(ending)?, haste)));
    let (word, haste) = ending.unwrap_or((text, Haste::Orderly));
    let shutdown = match word {
        "reboot" => ShutdownAction::Reboot,
        "poweroff" => ShutdownAction::Poweroff,
        "halt" => ShutdownAction::Halt,
        "exit" if haste != Haste::Immediate => ShutdownAction::Poweroff,
        "soft-reboot" | "kexec" => {
            return Err(format!(
                "{text} is not possible: the root is one verified image; write reboot"
            ));
        }
        _ => return Err(format!("{text:?} is not one of {VALUES}")),
    };
    Ok(Some(Action { shutdown, haste }))
}

fn set_action(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let action = if value.is_reset() {
        None
    } else {
        parse(value.text)?
    };
    let actions = &mut unit.actions;
    match value.name {
        "FailureAction" => actions.failure = action,
        "SuccessAction" => actions.success = action,
        "StartLimitAction" => actions.start_limit = action,
        _ => actions.job_timeout = action,
    }
    Ok(())
}

fn set_argument(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let text = value.expanded();
    if text.len() > MAX_ARGUMENT || text.contains(['\0', '\n']) {
        return Err(format!(
            "is longer than {MAX_ARGUMENT} bytes or not one line"
        ));
    }
    let argument = (!text.is_empty()).then_some(text);
    match value.name {
        "RebootArgument" => unit.actions.reboot_argument = argument,
        _ => unit.actions.job_reboot_argument = argument,
    }
    Ok(())
}

fn set_span(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let span = if value.is_reset() {
        None
    } else {
        value::span_us(value.text)?
    };
    match value.name {
        // As in systemd, 0 is for ever.
        "JobTimeoutSec" => unit.actions.job_us = span.filter(|span| *span > 0),
        _ => {
            let given = span.filter(|span| *span > 0).unwrap_or(u64::MAX);
            unit.actions.job_running_us = (!value.is_reset()).then_some(given);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_by_name() {
        let action = |shutdown, haste| Ok(Some(Action { shutdown, haste }));
        assert_eq!(parse("none"), Ok(None));
        assert_eq!(
            parse("reboot"),
            action(ShutdownAction::Reboot, Haste::Orderly)
        );
        assert_eq!(
            parse("reboot-force"),
            action(ShutdownAction::Reboot, Haste::Force)
        );
        assert_eq!(
            parse("halt-immediate"),
            action(ShutdownAction::Halt, Haste::Immediate)
        );
        assert_eq!(
            parse("exit-force"),
            action(ShutdownAction::Poweroff, Haste::Force)
        );
        for text in [
            "exit-immediate",
            "kexec",
            "soft-reboot-force",
            "reboot-",
            "",
            "explode",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
