//! `StandardOutput=` and its like, `SyslogIdentifier=`: where a service's streams go. `TTYPath=` and its like: the
//! terminal among them.

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::plan::stdio::MAX_DATA;
use crate::plan::{ExecPlan, FileMode, Input, Output, Taken, Terminal};
use crate::unit::Unit;
use crate::value;

/// Where a service's streams go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StdioSettings {
    /// StandardInput=, if given.
    pub input: Option<Input>,
    /// StandardInputText=, StandardInputData=.
    pub data: Vec<u8>,
    /// StandardOutput=, if given.
    pub output: Option<Output>,
    /// StandardError=, if given.
    pub error: Option<Output>,
    /// TTYPath=.
    pub tty: Option<String>,
    /// TTYReset=, TTYVHangup=, TTYVTDisallocate=, TTYRows=, TTYColumns=; without a path.
    pub terminal: Terminal,
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

const fn tty(name: &'static str, value: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value,
        documentation,
        support: Support::Set(set_tty),
    }
}

const CONSOLE: &str = "/dev/console";
const OUTPUTS: &str = "inherit|null|journal|kmsg|tty|file:PATH|append:PATH|truncate:PATH";

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row(
        "StandardInput",
        "null|tty|tty-force|tty-fail|data|file:PATH",
        "Where standard input comes from; null, or data where there is some. tty does not wait for a terminal that another session has, but shares it.",
    ),
    Directive {
        section: "Service",
        name: "StandardInputText",
        value: "TEXT",
        documentation: "A line for standard input; several lines and StandardInputData= add up.",
        support: Support::Set(add_text),
    },
    Directive {
        section: "Service",
        name: "StandardInputData",
        value: "BASE64",
        documentation: "Bytes for standard input.",
        support: Support::Set(add_data),
    },
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
        "The terminal that tty means; /dev/console. Sets TERM.",
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
    tty(
        "TTYReset",
        "BOOLEAN",
        "Before each command the modes of the terminal are set to sane ones; after the last they are left.",
    ),
    tty(
        "TTYVHangup",
        "BOOLEAN",
        "Before each command whoever has the terminal open is cut off; after the last nobody is.",
    ),
    tty(
        "TTYVTDisallocate",
        "BOOLEAN",
        "Before each command the virtual terminal is freed, any other terminal cleared; after the last it is left.",
    ),
    tty("TTYRows", "NUMBER", "Lines of the terminal."),
    tty("TTYColumns", "NUMBER", "Columns of the terminal."),
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

/// An empty path stands for TTYPath=, which may follow; no data for what follows too.
fn input(text: &str) -> Result<Option<Input>, String> {
    let tty = |taken| {
        let path = String::new();
        Ok(Some(Input::Tty { path, taken }))
    };
    match text {
        "" => Ok(None),
        "null" => Ok(Some(Input::Null)),
        "tty" => tty(Taken::Share),
        "tty-force" => tty(Taken::Force),
        "tty-fail" => tty(Taken::Fail),
        "data" => Ok(Some(Input::Data(Vec::new()))),
        text => match text.strip_prefix("file:") {
            Some(path) => Ok(Some(Input::File(value::path(path)?))),
            None => Err(format!(
                "{text:?} is not null, tty, tty-force, tty-fail, data or file:PATH"
            )),
        },
    }
}

/// Appends to the data, up to as much as systemd takes.
fn append(data: &mut Vec<u8>, more: &[u8]) -> Result<(), String> {
    if data.len().saturating_add(more.len()) > MAX_DATA {
        return Err(format!("more than {MAX_DATA} bytes of standard input"));
    }
    data.extend_from_slice(more);
    Ok(())
}

fn add_text(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let data = &mut unit.service.stdio.data;
    if value.is_reset() {
        data.clear();
        return Ok(());
    }
    let line = crate::words::unescape(value.text)?;
    let line = value.specifiers.expand(&line) + "\n";
    append(data, line.as_bytes())
}

fn add_data(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let data = &mut unit.service.stdio.data;
    if value.is_reset() {
        data.clear();
        return Ok(());
    }
    append(data, &value::base64(value.text)?)
}

fn set_tty(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let terminal = &mut unit.service.stdio.terminal;
    let size = || match value.text {
        "" => Ok(0),
        text => value::number(text, 1, i64::from(u16::MAX)).map(|size| size as u16),
    };
    match value.name {
        "TTYReset" => terminal.reset = value::boolean(value.text)?,
        "TTYVHangup" => terminal.hang_up = value::boolean(value.text)?,
        "TTYVTDisallocate" => terminal.disallocate = value::boolean(value.text)?,
        "TTYRows" => terminal.rows = size()?,
        _ => terminal.columns = size()?,
    }
    Ok(())
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

/// TERM of a service that has to do with a terminal: the console and virtual terminals are `linux`, as for systemd.
pub(super) fn term(unit: &Unit) -> Option<&'static str> {
    let settings = &unit.service.stdio;
    let writes = [&settings.output, &settings.error];
    let writes = writes.map(|output| matches!(output, Some(Output::Tty(_))));
    let reads = matches!(settings.input, Some(Input::Tty { .. }));
    if !reads && !writes.contains(&true) && settings.tty.is_none() {
        return None;
    }
    let tty = settings.tty.as_deref().unwrap_or(CONSOLE);
    let number = tty.strip_prefix("/dev/tty").unwrap_or_default();
    let virtual_one = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    Some(if tty == CONSOLE || virtual_one {
        "linux"
    } else {
        "vt220"
    })
}

/// Standard input, whose terminal has this path.
fn planned_input(settings: &StdioSettings, tty: &str) -> Input {
    match &settings.input {
        Some(Input::Tty { taken, .. }) => Input::Tty {
            path: tty.into(),
            taken: *taken,
        },
        None if settings.data.is_empty() => Input::Null,
        None | Some(Input::Data(_)) => Input::Data(settings.data.clone()),
        Some(other) => other.clone(),
    }
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let settings = &planning.unit.service.stdio;
    let tty = settings.tty.as_deref().unwrap_or(CONSOLE);
    let output = |output: &Option<Output>, default| match output {
        Some(Output::Tty(_)) => Output::Tty(tty.into()),
        Some(output) => output.clone(),
        None => default,
    };
    let stdio = &mut plan.stdio;
    stdio.input = planned_input(settings, tty);
    // Without a word about output, a service on a terminal writes there, every other to the journal.
    let on_tty = matches!(stdio.input, Input::Tty { .. });
    let default = if on_tty {
        Output::Inherit
    } else {
        Output::Journal
    };
    stdio.output = output(&settings.output, default);
    stdio.error = output(&settings.error, Output::Inherit);
    let writes = [&stdio.output, &stdio.error].map(|output| matches!(output, Output::Tty(_)));
    let uses_tty = on_tty || writes.contains(&true) || settings.tty.is_some();
    if uses_tty && settings.terminal != Terminal::default() {
        stdio.terminal = Some(Terminal {
            path: tty.into(),
            ..settings.terminal.clone()
        });
    }
    let program = plan.program.rsplit('/').next().unwrap_or_default();
    stdio.identifier = settings
        .identifier
        .clone()
        .unwrap_or_else(|| program.into());
    stdio.priority = settings.facility.unwrap_or(3) * 8 + settings.level.unwrap_or(6);
    stdio.level_prefix = settings.level_prefix.unwrap_or(true);
    Ok(())
}

#[cfg(test)]
mod tests;
