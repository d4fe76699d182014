//! `StandardOutput=` and its like, `SyslogIdentifier=`: where a service's streams go.

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::plan::{ExecPlan, FileMode, Input, Output};
use crate::unit::Unit;
use crate::value;

/// Where a service's streams go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StdioSettings {
    /// StandardInput=.
    pub input: Input,
    /// StandardOutput=, if given.
    pub output: Option<Output>,
    /// StandardError=, if given.
    pub error: Option<Output>,
    /// TTYPath=.
    pub tty: Option<String>,
    /// SyslogIdentifier=.
    pub identifier: Option<String>,
    /// SyslogFacility=, if given.
    pub facility: Option<u8>,
    /// SyslogLevel=, if given.
    pub level: Option<u8>,
    /// SyslogLevelPrefix=, if given.
    pub level_prefix: Option<bool>,
}

const fn row(name: &'static str, value: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value,
        documentation,
        support: Support::Set(set),
    }
}

const OUTPUTS: &str = "inherit|null|journal|kmsg|tty|file:PATH|append:PATH|truncate:PATH";

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row(
        "StandardInput",
        "null|tty|file:PATH",
        "Where standard input comes from; null.",
    ),
    row(
        "StandardOutput",
        OUTPUTS,
        "Where standard output goes; journal. syslog and ...+console are taken as journal.",
    ),
    row(
        "StandardError",
        OUTPUTS,
        "Where standard error goes; the same as standard output.",
    ),
    row(
        "TTYPath",
        "PATH",
        "The terminal that tty means; /dev/console.",
    ),
    row(
        "SyslogIdentifier",
        "TEXT",
        "SYSLOG_IDENTIFIER of its lines; the program's name.",
    ),
    row("SyslogFacility", "NAME", "Facility of its lines; daemon."),
    row(
        "SyslogLevel",
        "NAME",
        "Level of lines without a <N> prefix; info.",
    ),
    row(
        "SyslogLevelPrefix",
        "BOOLEAN",
        "<N> at the start of a line is its level; yes.",
    ),
    Directive {
        section: "Service",
        name: "TTYReset",
        value: "BOOLEAN",
        documentation: "Reset the terminal before use.",
        support: Support::Later,
    },
    Directive {
        section: "Service",
        name: "TTYVHangup",
        value: "BOOLEAN",
        documentation: "Hang the terminal up before use.",
        support: Support::Later,
    },
];

const LEVELS: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "12", "13", "14", "15", "local0", "local1", "local2", "local3", "local4", "local5",
    "local6", "local7",
];

fn set(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let text = value.expanded();
    let stdio = &mut unit.service.stdio;
    match value.name {
        "StandardInput" => stdio.input = input(&text)?,
        "StandardOutput" => stdio.output = output(&text)?,
        "StandardError" => stdio.error = output(&text)?,
        "TTYPath" => {
            stdio.tty = if text.is_empty() {
                None
            } else {
                Some(value::path(&text)?)
            }
        }
        "SyslogIdentifier" => stdio.identifier = (!text.is_empty()).then_some(text),
        "SyslogFacility" => stdio.facility = position(&FACILITIES, &text)?,
        "SyslogLevel" => stdio.level = position(&LEVELS, &text)?,
        _ => stdio.level_prefix = Some(value::boolean(&text)?),
    }
    Ok(())
}

fn position(names: &[&str], text: &str) -> Result<Option<u8>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let found = names
        .iter()
        .position(|name| *name == text)
        .map(|position| position as u8);
    found
        .map(Some)
        .ok_or_else(|| format!("{text:?} is not one of {}", names.join(", ")))
}

/// An empty path stands for TTYPath=, which may follow.
fn input(text: &str) -> Result<Input, String> {
    match text {
        "" | "null" => Ok(Input::Null),
        "tty" | "tty-force" | "tty-fail" => Ok(Input::Tty(String::new())),
        text => match text.strip_prefix("file:") {
            Some(path) => Ok(Input::File(value::path(path)?)),
            None => Err(format!("{text:?} is not null, tty or file:PATH")),
        },
    }
}

fn output(text: &str) -> Result<Option<Output>, String> {
    let file = |path: &str, mode| {
        Ok(Some(Output::File {
            path: value::path(path)?,
            mode,
        }))
    };
    match text {
        "" => Ok(None),
        "inherit" => Ok(Some(Output::Inherit)),
        "null" => Ok(Some(Output::Null)),
        "journal" | "journal+console" | "syslog" | "syslog+console" => Ok(Some(Output::Journal)),
        "kmsg" | "kmsg+console" => Ok(Some(Output::Kmsg)),
        "tty" => Ok(Some(Output::Tty(String::new()))),
        text => match text.split_once(':') {
            Some(("file", path)) => file(path, FileMode::Write),
            Some(("append", path)) => file(path, FileMode::Append),
            Some(("truncate", path)) => file(path, FileMode::Truncate),
            _ => Err(format!("{text:?} is not one of {OUTPUTS}")),
        },
    }
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let settings = &planning.unit.service.stdio;
    let tty = || {
        settings
            .tty
            .clone()
            .unwrap_or_else(|| "/dev/console".into())
    };
    let terminal = |output: Output| {
        if let Output::Tty(_) = output {
            Output::Tty(tty())
        } else {
            output
        }
    };
    let stdio = &mut plan.stdio;
    stdio.input = match &settings.input {
        Input::Tty(_) => Input::Tty(tty()),
        other => other.clone(),
    };
    // Without a word about output, a service on a terminal or a file writes there, every other to the journal.
    let default = if stdio.input == Input::Null {
        Output::Journal
    } else {
        Output::Inherit
    };
    stdio.output = terminal(settings.output.clone().unwrap_or(default));
    stdio.error = terminal(settings.error.clone().unwrap_or(Output::Inherit));
    let program = plan.program.rsplit('/').next().unwrap_or_default();
    stdio.identifier = settings
        .identifier
        .clone()
        .unwrap_or_else(|| program.into());
    stdio.priority = settings.facility.unwrap_or(3) * 8 + settings.level.unwrap_or(6);
    stdio.level_prefix = settings.level_prefix.unwrap_or(true);
    Ok(())
}
