//! `ExecStart=` and its like: the commands of a service, systemd.service(5) "Command lines".

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::environment;
use crate::finding::Place;
use crate::plan::ExecPlan;
use crate::unit::Unit;
use crate::value;
use crate::words;

/// One command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Absolute path, or a name that is looked for in ExecSearchPath=, or else in the default PATH.
    pub program: String,
    /// Arguments from `argv[0]` on, variables not yet replaced.
    pub arguments: Vec<String>,
    /// `-`: a failure counts as success.
    pub ignore_failure: bool,
    /// `:`: variables are not replaced.
    pub literal: bool,
    /// `+`: nothing that confines the service holds for it, but what holds for the whole control group.
    pub privileged: bool,
    /// `!`: it stays root; all else holds.
    pub keeps_user: bool,
    /// Its line.
    pub at: Place,
}

/// The commands of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// ExecCondition=.
    pub condition: Vec<Command>,
    /// ExecStartPre=.
    pub start_pre: Vec<Command>,
    /// ExecStart=.
    pub start: Vec<Command>,
    /// ExecStartPost=.
    pub start_post: Vec<Command>,
    /// ExecReload=.
    pub reload: Vec<Command>,
    /// ExecStop=.
    pub stop: Vec<Command>,
    /// ExecStopPost=.
    pub stop_post: Vec<Command>,
}

const fn row(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "COMMAND",
        documentation,
        support: Support::Must(add),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row(
        "ExecCondition",
        "Run before all others; exit 1 to 254 skips the service without failure.",
    ),
    row(
        "ExecStartPre",
        "Run before ExecStart=, one after the other.",
    ),
    row(
        "ExecStart",
        "The service itself; a oneshot may have several.",
    ),
    row("ExecStartPost", "Run once the service is started."),
    row("ExecReload", "Run to reload; $MAINPID is the main process."),
    row("ExecStop", "Run to stop, before KillSignal=."),
    row(
        "ExecStopPost",
        "Run after the end, however it came; $SERVICE_RESULT, $EXIT_CODE and $EXIT_STATUS say how.",
    ),
];

/// The commands of one directive.
pub fn list<'a>(exec: &'a mut Exec, name: &str) -> &'a mut Vec<Command> {
    match name {
        "ExecCondition" => &mut exec.condition,
        "ExecStartPre" => &mut exec.start_pre,
        "ExecStart" => &mut exec.start,
        "ExecStartPost" => &mut exec.start_post,
        "ExecReload" => &mut exec.reload,
        "ExecStop" => &mut exec.stop,
        _ => &mut exec.stop_post,
    }
}

fn add(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let commands = list(&mut unit.service.exec, value.name);
    if value.is_reset() {
        commands.clear();
        return Ok(());
    }
    let words = words::split(value.text)?;
    for words in words.split(|word| word.plain && word.text == ";") {
        if !words.is_empty() {
            commands.push(command(words, value)?);
        }
    }
    Ok(())
}

fn command(words: &[words::Word], value: &Value<'_>) -> Result<Command, String> {
    let mut expanded = words.iter().map(|word| value.specifiers.expand(&word.text));
    let first = expanded.next().unwrap_or_default();
    let mut command = Command {
        at: value.at.clone(),
        ..Command::default()
    };
    let (program, own_name) = prefixes(&first, &mut command)?;
    command.program = match program.contains('/') {
        true => value::path(program)?,
        false if program.is_empty() => return Err("names no program".into()),
        false => program.into(),
    };
    let name = if own_name {
        expanded
            .next()
            .ok_or("\"@\" needs a name after the program")?
    } else {
        program.into()
    };
    command.arguments = std::iter::once(name).chain(expanded).collect();
    Ok(command)
}

/// Reads what stands before the program; the program, and whether `@` was there. `!!` asks for `!` only where the
/// kernel has no ambient capabilities: it has.
fn prefixes<'a>(word: &'a str, command: &mut Command) -> Result<(&'a str, bool), String> {
    let (mut own_name, mut rights) = (false, "");
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        match first {
            '-' => command.ignore_failure = true,
            ':' => command.literal = true,
            '@' => own_name = true,
            '+' if rights.is_empty() => rights = "+",
            '!' if rights.is_empty() => rights = "!",
            '!' if rights == "!" => rights = "!!",
            '+' | '!' => return Err(format!("{word:?}: only one of +, ! and !! may be given")),
            _ => break,
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    command.privileged = rights == "+";
    command.keeps_user = rights == "!";
    Ok((rest, own_name))
}

/// Finds the program and replaces variables; comes after the environment.
pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let command = planning.command;
    plan.program = command.program.clone();
    if !plan.program.starts_with('/') {
        let found = super::environment::search_path(planning.unit)
            .map(|folder| format!("{folder}/{}", command.program))
            .find(|p| planning.host.is_program(p));
        plan.program = found
            .ok_or_else(|| format!("{}: there is no program {:?}", command.at, command.program))?;
    }
    let (name, arguments) = command
        .arguments
        .split_first()
        .ok_or("command without arguments")?;
    plan.argv = vec![name.clone()];
    if command.literal {
        plan.argv.extend_from_slice(arguments);
    } else {
        let expanded = environment::expand(arguments, &plan.environment);
        let expanded = expanded.map_err(|why| format!("{}: {why}", command.at));
        plan.argv.extend(expanded?);
    }
    Ok(())
}
