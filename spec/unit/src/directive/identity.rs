//! `User=`, `Group=`, `SupplementaryGroups=`: who a service runs as.

use serde::{Deserialize, Serialize};

use super::exec::Command;
use super::{Directive, Planning, Support, Value};
use crate::account::{Accounts, User};
use crate::plan::{Credentials, ExecPlan};
use crate::unit::Unit;

/// Who a service runs as, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User=.
    pub user: Option<String>,
    /// Group=.
    pub group: Option<String>,
    /// SupplementaryGroups=.
    pub groups: Vec<String>,
    /// PermissionsStartOnly=: the other commands stay root.
    pub start_only: bool,
    /// DynamicUser=: made up for one run.
    pub dynamic: bool,
    /// RemoveIPC=: IPC objects of the user go with the service.
    pub remove_ipc: bool,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "User",
        value: "NAME|NUMBER",
        documentation: "The user its commands run as, out of /etc/passwd; sets USER, LOGNAME, HOME and SHELL.",
        support: Support::Confine(set_user),
    },
    Directive {
        section: "Service",
        name: "Group",
        value: "NAME|NUMBER",
        documentation: "The primary group; the user's by default.",
        support: Support::Confine(set_group),
    },
    Directive {
        section: "Service",
        name: "SupplementaryGroups",
        value: "GROUP...",
        documentation: "Groups besides those that /etc/group gives the user.",
        support: Support::Confine(add_groups),
    },
    Directive {
        section: "Service",
        name: "DynamicUser",
        value: "BOOLEAN",
        documentation: "A user made up for one run, 61184 to 65519; brings ProtectSystem=strict, ProtectHome=read-only, PrivateTmp=, RemoveIPC=, NoNewPrivileges=, RestrictSUIDSGID=.",
        support: Support::Confine(set_dynamic),
    },
    Directive {
        section: "Service",
        name: "RemoveIPC",
        value: "BOOLEAN",
        documentation: "System V and POSIX IPC objects of its user go when it and all others of that user have stopped; not of root.",
        support: Support::Confine(set_remove_ipc),
    },
    Directive {
        section: "Service",
        name: "PermissionsStartOnly",
        value: "BOOLEAN",
        documentation: "Deprecated: all commands but ExecStart= run as with a + before them.",
        support: Support::Set(set_start_only),
    },
];

fn checked(name: String) -> Result<Option<String>, String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    match name.as_str() {
        "" => Ok(None),
        text if text.len() <= 256 && text.bytes().all(fine) && !text.starts_with('-') => {
            Ok(Some(name))
        }
        text => Err(format!("{text:?} is not a name or number")),
    }
}

fn set_user(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.identity.user = checked(value.expanded())?;
    Ok(())
}

fn set_group(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.identity.group = checked(value.expanded())?;
    Ok(())
}

fn add_groups(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let groups = &mut unit.service.identity.groups;
    if value.is_reset() {
        groups.clear();
    }
    for word in value.words()? {
        groups.extend(checked(word)?);
    }
    Ok(())
}

fn set_start_only(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.identity.start_only = crate::value::boolean(value.text)?;
    Ok(())
}

fn set_dynamic(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.identity.dynamic = crate::value::boolean(value.text)?;
    Ok(())
}

fn set_remove_ipc(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.identity.remove_ipc = crate::value::boolean(value.text)?;
    Ok(())
}

/// The name of the user of DynamicUser=: User=, or the unit's own where that can be a user's.
pub fn dynamic_name(unit: &Unit) -> Option<String> {
    let identity = &unit.service.identity;
    if !identity.dynamic {
        return None;
    }
    let stem = unit.name.rsplit_once('.').map_or("", |(stem, _)| stem);
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let part = |byte: u8| letter(byte) || byte.is_ascii_digit() || byte == b'-';
    let starts_well = stem.bytes().next().is_some_and(letter);
    let fits = starts_well && stem.len() <= 31 && stem.bytes().all(part);
    Some(match (&identity.user, fits) {
        (Some(user), _) => user.clone(),
        (None, true) => stem.into(),
        (None, false) => format!("_du{:016x}", crate::account::hash(&unit.name)),
    })
}

/// An account that a service is to have and the node has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// What systemd's child exits with: 217 (`USER`) or 216 (`GROUP`), systemd.exec(5).
    pub status: i32,
    /// The line and the name.
    pub message: String,
}

/// The first account of User=, Group= and SupplementaryGroups= that is not there.
pub fn unknown(unit: &Unit, accounts: &Accounts) -> Option<Unknown> {
    let identity = &unit.service.identity;
    let user = dynamic_name(unit).or_else(|| identity.user.clone());
    let user = user.filter(|name| accounts.user(name).is_none());
    if let Some(name) = user {
        let (status, message) = (217, no_user(&name));
        return Some(Unknown { status, message });
    }
    let mut groups = identity.group.iter().chain(&identity.groups);
    let name = groups.find(|name| accounts.gid(name).is_none())?;
    let (status, message) = (216, no_group(name));
    Some(Unknown { status, message })
}

fn no_user(name: &str) -> String {
    format!("User=: there is no user {name:?} in /etc/passwd")
}

fn no_group(name: &str) -> String {
    format!("Group=, SupplementaryGroups=: there is no group {name:?} in /etc/group")
}

/// The user a service runs as, if it is not root by default.
pub(super) fn user_of(planning: &Planning<'_>) -> Result<Option<User>, String> {
    let unit = planning.unit;
    let Some(name) = dynamic_name(unit).or_else(|| unit.service.identity.user.clone()) else {
        return Ok(None);
    };
    if unit.service.identity.dynamic && name.parse::<u32>().is_ok() {
        return Err("User=: a number is no name for the user of DynamicUser=; give a name".into());
    }
    let user = planning.host.accounts().user(&name);
    user.map(Some).ok_or_else(|| no_user(&name))
}

/// The numbers of User= and Group=, whatever the command; 0 by default.
pub(super) fn numbers_of(planning: &Planning<'_>) -> Result<(u32, u32), String> {
    let user = user_of(planning)?;
    let group = planning.unit.service.identity.group.as_ref();
    let group = group.and_then(|name| planning.host.accounts().gid(name));
    let (uid, gid) = user.map_or((0, 0), |user| (user.uid, user.gid));
    Ok((uid, group.unwrap_or(gid)))
}

/// The command as it is run: PermissionsStartOnly= puts a `+` before all but ExecStart=.
pub(super) fn command_of(unit: &Unit, command: &Command) -> Command {
    let start_only = unit.service.identity.start_only && !unit.service.exec.start.contains(command);
    Command {
        privileged: command.privileged || start_only,
        ..command.clone()
    }
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let identity = &planning.unit.service.identity;
    let accounts = planning.host.accounts();
    let user = user_of(planning)?;
    let number = |name: &String| accounts.gid(name).ok_or_else(|| no_group(name));
    let group = identity.group.as_ref().map(number).transpose()?;
    if user.is_none() && group.is_none() && identity.groups.is_empty() {
        return Ok(());
    }
    let (uid, gid) = user.as_ref().map_or((0, 0), |user| (user.uid, user.gid));
    let gid = group.unwrap_or(gid);
    let mut groups: Vec<u32> = user
        .iter()
        .flat_map(|user| accounts.groups_of(&user.name))
        .collect();
    for name in &identity.groups {
        groups.push(number(name)?);
    }
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    // A command with "+" or "!" keeps the user's variables and folders, not his numbers.
    if !planning.command.privileged && !planning.command.keeps_user {
        plan.credentials = Some(Credentials { uid, gid, groups });
    }
    Ok(())
}
