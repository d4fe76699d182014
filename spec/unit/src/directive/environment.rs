//! `Environment=`, `EnvironmentFile=` and their like: the variables of a service.

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::environment;
use crate::plan::ExecPlan;
use crate::unit::Unit;
use crate::value;

/// PATH of every service.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A file with variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentFile {
    /// Absolute path.
    pub path: String,
    /// It may be missing.
    pub optional: bool,
}

/// The variables of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentSettings {
    /// Environment=.
    pub variables: Vec<(String, String)>,
    /// EnvironmentFile=.
    pub files: Vec<EnvironmentFile>,
    /// UnsetEnvironment=: names, or names with the value they must have.
    pub unset: Vec<String>,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "Environment",
        value: "NAME=VALUE...",
        documentation: "Variables of every command.",
        support: Support::Set(add_variables),
    },
    Directive {
        section: "Service",
        name: "EnvironmentFile",
        value: "[-]PATH",
        documentation: "A file of variables, read before each command; with \"-\" it may be missing.",
        support: Support::Set(add_file),
    },
    Directive {
        section: "Service",
        name: "UnsetEnvironment",
        value: "NAME[=VALUE]...",
        documentation: "Variables taken out at the end.",
        support: Support::Set(add_unset),
    },
    Directive {
        section: "Service",
        name: "PassEnvironment",
        value: "NAME...",
        documentation: "Variables of PID 1 to hand on. PID 1 has none.",
        support: Support::NoEffect,
    },
];

fn add_variables(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let variables = &mut unit.service.environment.variables;
    if value.is_reset() {
        variables.clear();
    }
    for word in value.words()? {
        let (name, text) = environment::assignment(&word)?;
        variables.retain(|(known, _)| *known != name);
        variables.push((name, text));
    }
    Ok(())
}

fn add_file(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let files = &mut unit.service.environment.files;
    if value.is_reset() {
        files.clear();
        return Ok(());
    }
    let text = value.expanded();
    let (path, optional) = text
        .strip_prefix('-')
        .map_or((text.as_str(), false), |path| (path, true));
    files.push(EnvironmentFile {
        path: value::path(path)?,
        optional,
    });
    Ok(())
}

fn add_unset(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let unset = &mut unit.service.environment.unset;
    if value.is_reset() {
        unset.clear();
    }
    unset.extend(value.words()?);
    Ok(())
}

/// Later sources win: the user's variables, Environment=, EnvironmentFile=, and what PID 1 says itself.
pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let settings = &planning.unit.service.environment;
    let variables = &mut plan.environment;
    variables.insert("PATH".into(), DEFAULT_PATH.into());
    if let Some(user) = super::identity::user_of(planning)? {
        let pairs = [
            ("USER", &user.name),
            ("LOGNAME", &user.name),
            ("HOME", &user.home),
            ("SHELL", &user.shell),
        ];
        variables.extend(pairs.map(|(name, value)| (name.to_string(), value.clone())));
    }
    variables.extend(settings.variables.iter().cloned());
    for file in &settings.files {
        match planning.host.environment_file(&file.path) {
            Ok(Some(text)) => variables.extend(environment::parse_file(&text).0),
            Ok(None) | Err(_) if file.optional => {}
            Ok(None) => return Err(format!("EnvironmentFile=: {} is missing", file.path)),
            Err(message) => return Err(format!("EnvironmentFile=: {message}")),
        }
    }
    variables.extend(planning.variables.iter().cloned());
    for unset in &settings.unset {
        match unset.split_once('=') {
            Some((name, value)) if variables.get(name).is_some_and(|set| set == value) => {
                drop(variables.remove(name))
            }
            Some(_) => {}
            None => drop(variables.remove(unset)),
        }
    }
    Ok(())
}
