//! `PrivateNetwork=`, `PrivateIPC=`, `PrivateUsers=`, `PrivatePIDs=`: namespaces of a service, systemd.exec(5)
//! "Sandboxing".

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Value};
use crate::directive::service::ServiceType;
use crate::plan::{ExecPlan, IdMaps, IdRange, Sharing};
use crate::unit::Unit;
use crate::value;

/// Namespaces of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceSettings {
    /// PrivateNetwork=.
    pub network: bool,
    /// NetworkNamespacePath=.
    pub network_path: Option<String>,
    /// PrivateIPC=.
    pub ipc: bool,
    /// IPCNamespacePath=.
    pub ipc_path: Option<String>,
    /// PrivateUsers=.
    pub users: Users,
    /// PrivatePIDs=.
    pub processes: bool,
}

/// PrivateUsers=.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Users {
    /// The node's.
    #[default]
    No,
    /// Root and the service's own; all others are nobody.
    OwnOnly,
    /// The first 65,536, each as itself.
    Identity,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive::wall(
        "PrivateNetwork",
        "BOOLEAN",
        "A network of its own with nothing but a loopback link.",
        set_flag,
    ),
    Directive::wall(
        "NetworkNamespacePath",
        "PATH",
        "A file that refers to the network namespace it runs in.",
        set_path,
    ),
    Directive::wall(
        "PrivateIPC",
        "BOOLEAN",
        "System V objects and POSIX message queues of its own.",
        set_flag,
    ),
    Directive::wall(
        "IPCNamespacePath",
        "PATH",
        "A file that refers to the IPC namespace it runs in.",
        set_path,
    ),
    Directive::wall(
        "PrivateUsers",
        "BOOLEAN|self|identity",
        "User numbers of its own: root and User= are themselves, all others nobody; no capability outside.",
        set_users,
    ),
    Directive::wall(
        "PrivatePIDs",
        "BOOLEAN",
        "Process numbers of its own: it is number 1 and sees only what it starts.",
        set_flag,
    ),
];

fn set_flag(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let on = !value.is_reset() && value::boolean(value.text)?;
    let settings = &mut unit.service.namespaces;
    match value.name {
        "PrivateNetwork" => settings.network = on,
        "PrivateIPC" => settings.ipc = on,
        _ => settings.processes = on,
    }
    Ok(())
}

fn set_path(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let path = match value.expanded().as_str() {
        "" => None,
        text => Some(value::path(text)?),
    };
    let settings = &mut unit.service.namespaces;
    match value.name {
        "NetworkNamespacePath" => settings.network_path = path,
        _ => settings.ipc_path = path,
    }
    Ok(())
}

fn set_users(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.namespaces.users = match value.text {
        "" => Users::No,
        "self" => Users::OwnOnly,
        "identity" => Users::Identity,
        text if value::boolean(text)? => Users::OwnOnly,
        _ => Users::No,
    };
    Ok(())
}

fn sharing(own: bool, path: &Option<String>) -> Sharing {
    match path {
        // As in systemd, a path goes before a namespace of its own.
        Some(path) => Sharing::At(path.clone()),
        None if own => Sharing::Own,
        None => Sharing::Shared,
    }
}

/// Root and one other number, each as itself.
fn own_only(number: u32) -> Vec<IdRange> {
    let one = |number| IdRange {
        inside: number,
        outside: number,
        count: 1,
    };
    match number {
        0 => vec![one(0)],
        number => vec![one(0), one(number)],
    }
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    if planning.command.privileged {
        return Ok(());
    }
    let settings = &planning.unit.service.namespaces;
    plan.namespaces.network = sharing(settings.network, &settings.network_path);
    plan.namespaces.ipc = sharing(settings.ipc, &settings.ipc_path);
    plan.namespaces.processes = settings.processes;
    let kind = planning.unit.service.kind.given;
    if settings.processes && kind == Some(ServiceType::Forking) {
        // The first process of the namespace would be the one that ends, and take the daemon with it.
        return Err("PrivatePIDs=: a service of Type=forking cannot have it".into());
    }
    let (uid, gid) = plan
        .credentials
        .as_ref()
        .map_or((0, 0), |numbers| (numbers.uid, numbers.gid));
    let all = vec![IdRange {
        inside: 0,
        outside: 0,
        count: 65_536,
    }];
    plan.namespaces.users = match settings.users {
        Users::No => None,
        Users::OwnOnly => Some(IdMaps {
            uid: own_only(uid),
            gid: own_only(gid),
        }),
        Users::Identity => Some(IdMaps {
            uid: all.clone(),
            gid: all,
        }),
    };
    Ok(())
}

#[cfg(test)]
mod tests;
