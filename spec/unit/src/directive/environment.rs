//! `Environment=`, `EnvironmentFile=`, `ExecSearchPath=` and their like: the variables of a service, systemd.exec(5)
//! "Environment variables in spawned processes".

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::account::User;
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
    /// ExecSearchPath=: absolute paths.
    pub search: Vec<String>,
    /// SetLoginEnvironment=, if given.
    pub login: Option<bool>,
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
    Directive {
        section: "Service",
        name: "ExecSearchPath",
        value: "PATH[:PATH...]",
        documentation: "Where programs without a slash are looked for, and PATH where no other setting says what it is.",
        support: Support::Set(add_search),
    },
    Directive {
        section: "Service",
        name: "SetLoginEnvironment",
        value: "BOOLEAN",
        documentation: "Whether HOME, LOGNAME and SHELL are set; yes with User=, else no.",
        support: Support::Set(set_login),
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

fn add_search(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let search = &mut unit.service.environment.search;
    if value.is_reset() {
        search.clear();
        return Ok(());
    }
    let text = value.expanded();
    let paths = text.split(':').filter(|path| !path.is_empty());
    search.extend(paths.map(value::path).collect::<Result<Vec<_>, _>>()?);
    Ok(())
}

fn set_login(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let login = &mut unit.service.environment.login;
    *login = (!value.is_reset())
        .then(|| value::boolean(value.text))
        .transpose()?;
    Ok(())
}

/// Folders in which a program without a slash is looked for.
pub(super) fn search_path(unit: &Unit) -> impl Iterator<Item = &str> {
    let own = &unit.service.environment.search;
    let default = own.is_empty().then(|| DEFAULT_PATH.split(':'));
    own.iter()
        .map(String::as_str)
        .chain(default.into_iter().flatten())
}

/// Later sources win: what PID 1 says itself, ExecSearchPath=, Environment=, EnvironmentFile=. Last of all
/// UnsetEnvironment= takes out.
pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let settings = &planning.unit.service.environment;
    let variables = &mut plan.environment;
    let path = search_path(planning.unit).collect::<Vec<_>>().join(":");
    variables.insert("PATH".into(), path);
    variables.extend(user_variables(planning)?);
    let term = super::stdio::term(planning.unit);
    variables.extend(term.map(|term| ("TERM".to_string(), term.to_string())));
    variables.extend(planning.variables.iter().cloned());
    variables.extend(settings.variables.iter().cloned());
    for file in &settings.files {
        match planning.host.environment_file(&file.path) {
            Ok(Some(text)) => variables.extend(environment::parse_file(&text).0),
            Ok(None) | Err(_) if file.optional => {}
            Ok(None) => return Err(format!("EnvironmentFile=: {} is missing", file.path)),
            Err(message) => return Err(format!("EnvironmentFile=: {message}")),
        }
    }
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

/// Programs that keep people out: they say nothing as SHELL.
const NO_SHELLS: [&str; 8] = [
    "/bin/nologin",
    "/sbin/nologin",
    "/usr/bin/nologin",
    "/usr/sbin/nologin",
    "/bin/false",
    "/usr/bin/false",
    "/bin/true",
    "/usr/bin/true",
];

/// USER, and as SetLoginEnvironment= says LOGNAME, HOME and SHELL; the latter two only where they tell something.
fn user_variables(planning: &Planning<'_>) -> Result<Vec<(String, String)>, String> {
    let given = super::identity::user_of(planning)?;
    let login = planning.unit.service.environment.login;
    let login = login.unwrap_or(given.is_some());
    let root = || planning.host.accounts().user("root").unwrap_or_else(root);
    let user = given.unwrap_or_else(root);
    let tells =
        |text: &str, nothing: &[&str]| login && !text.is_empty() && !nothing.contains(&text);
    let mut variables = vec![("USER", user.name.clone())];
    if login {
        variables.push(("LOGNAME", user.name));
    }
    if tells(&user.home, &["/"]) {
        variables.push(("HOME", user.home));
    }
    if tells(&user.shell, &NO_SHELLS) {
        variables.push(("SHELL", user.shell));
    }
    let named = variables.into_iter();
    Ok(named.map(|(name, value)| (name.into(), value)).collect())
}

/// Root, where /etc/passwd has no line for it.
fn root() -> User {
    User {
        name: "root".into(),
        uid: 0,
        gid: 0,
        home: "/root".into(),
        shell: "/bin/sh".into(),
    }
}

#[cfg(test)]
mod tests;
