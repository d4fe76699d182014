//! `LoadCredential=`, `SetCredential=`, `ImportCredential=`: secrets for a service alone, systemd's CREDENTIALS(7).

use serde::{Deserialize, Serialize};
use spec_layout::path::{CREDENTIALS, SYSTEM_CREDENTIALS};

use super::{Directive, Planning, Value};
use crate::plan::ExecPlan;
use crate::plan::credential::{Credential, CredentialFolder, CredentialSource, is_name};
use crate::unit::Unit;
use crate::value;

/// Secrets for a service, in the order in which the first of a name counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialSettings {
    /// LoadCredential=: name, and a path or the name of a stored one.
    pub load: Vec<(String, String)>,
    /// ImportCredential=: patterns of stored ones, and what the names begin with instead.
    pub import: Vec<(String, Option<String>)>,
    /// SetCredential=.
    pub set: Vec<(String, Vec<u8>)>,
}

/// Where stored credentials are, the first with a name counts.
pub const STORES: [&str; 6] = [
    SYSTEM_CREDENTIALS,
    "/etc/credstore",
    "/run/credstore",
    "/usr/local/lib/credstore",
    "/usr/lib/credstore",
    "/lib/credstore",
];

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive::wall(
        "LoadCredential",
        "NAME[:PATH]",
        "A file in $CREDENTIALS_DIRECTORY with what is in the file, or in the stored credential, of that name.",
        add_load,
    ),
    Directive::wall(
        "ImportCredential",
        "PATTERN[:PREFIX]",
        "The same for every stored credential that matches.",
        add_import,
    ),
    Directive::wall(
        "SetCredential",
        "NAME:TEXT",
        "A file in $CREDENTIALS_DIRECTORY with the text, if it was not loaded.",
        add_set,
    ),
];

fn named(name: &str) -> Result<String, String> {
    match is_name(name) {
        true => Ok(name.into()),
        false => Err(format!("{name:?} is not the name of a credential")),
    }
}

fn add_load(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let load = &mut unit.service.credentials.load;
    if value.is_reset() {
        load.clear();
        return Ok(());
    }
    let text = value.expanded();
    let (name, path) = text.split_once(':').unwrap_or((&text, &text));
    let path = match path.starts_with('/') {
        true => value::path(path)?,
        false => named(path)?,
    };
    let name = named(name)?;
    load.retain(|(known, _)| *known != name);
    load.push((name, path));
    Ok(())
}

fn add_import(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let import = &mut unit.service.credentials.import;
    if value.is_reset() {
        import.clear();
        return Ok(());
    }
    let text = value.expanded();
    let (pattern, prefix) = match text.split_once(':') {
        Some((pattern, prefix)) => (pattern, Some(named(prefix)?)),
        None => (text.as_str(), None),
    };
    // Only a star at the end, as in systemd.
    named(pattern.strip_suffix('*').unwrap_or(pattern)).or_else(|message| {
        let all = pattern == "*";
        all.then(String::new).ok_or(message)
    })?;
    import.push((pattern.into(), prefix));
    Ok(())
}

fn add_set(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let set = &mut unit.service.credentials.set;
    if value.is_reset() {
        set.clear();
        return Ok(());
    }
    let (name, text) = value
        .text
        .split_once(':')
        .ok_or("has no \":\" after the name")?;
    let name = named(&value.specifiers.expand(name))?;
    let text = crate::words::unescape(&value.specifiers.expand(text))?.into_bytes();
    set.retain(|(known, _)| *known != name);
    set.push((name, text));
    Ok(())
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// Where a credential of one name is looked for.
fn stored(name: &str) -> Vec<String> {
    STORES
        .iter()
        .map(|store| format!("{store}/{name}"))
        .collect()
}

fn list(planning: &Planning<'_>) -> Vec<Credential> {
    let settings = &planning.unit.service.credentials;
    let mut list = Vec::new();
    for (name, path) in &settings.load {
        let paths = match path.starts_with('/') {
            true => vec![path.clone()],
            false => stored(path),
        };
        // What SetCredential= gives stands in for what is missing; one of the system's is handed on if there is one.
        let missing_ok = !path.starts_with('/') || settings.set.iter().any(|(set, _)| set == name);
        list.push(Credential {
            name: name.clone(),
            source: CredentialSource::Files { paths, missing_ok },
        });
    }
    for (pattern, prefix) in &settings.import {
        let stored = planning.host.stored_credentials().into_iter();
        for (name, path) in stored.filter(|(name, _)| matches(pattern, name)) {
            let rest = name.strip_prefix(pattern.trim_end_matches('*'));
            let name = match (prefix, rest) {
                (Some(prefix), Some(rest)) => format!("{prefix}{rest}"),
                _ => name,
            };
            let source = CredentialSource::Files {
                paths: vec![path],
                missing_ok: true,
            };
            list.push(Credential { name, source });
        }
    }
    list.extend(settings.set.iter().map(|(name, text)| Credential {
        name: name.clone(),
        source: CredentialSource::Text(text.clone()),
    }));
    list
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let settings = &planning.unit.service.credentials;
    if planning.command.privileged || *settings == CredentialSettings::default() {
        return Ok(());
    }
    let path = format!("{CREDENTIALS}/{}", planning.unit.name);
    let uid = plan.credentials.as_ref().map_or(0, |numbers| numbers.uid);
    plan.environment
        .insert("CREDENTIALS_DIRECTORY".into(), path.clone());
    plan.mounts.credentials = Some(CredentialFolder {
        path,
        uid,
        list: list(planning),
    });
    Ok(())
}

#[cfg(test)]
mod tests;
