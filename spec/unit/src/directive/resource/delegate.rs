//! `Slice=`, `Delegate=`, `DelegateSubgroup=`: where the cgroup is, and whose it is.

use super::{Resources, slice_path};
use crate::directive::{Directive, Support, Value};
use crate::plan::{ExecPlan, is_subgroup};
use crate::unit::Unit;
use crate::value;

/// What systemd knows as controllers.
const CONTROLLERS: &[&str] = &[
    "cpu",
    "cpuacct",
    "cpuset",
    "io",
    "blkio",
    "memory",
    "devices",
    "pids",
    "bpf-firewall",
    "bpf-devices",
    "bpf-foreign",
    "bpf-socket-bind",
    "bpf-restrict-network-interfaces",
];

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "Slice",
        value: "UNIT.slice",
        documentation: "The branch of the cgroup tree: a-b.slice is below a.slice; system.slice by default.",
        support: Support::Confine(set_slice),
    },
    Directive {
        section: "Service",
        name: "Delegate",
        value: "BOOLEAN|CONTROLLER...",
        documentation: "The service may make cgroups below its own, which belongs to its user. It has every controller of the kernel, whichever are listed.",
        support: Support::Set(set_delegate),
    },
    Directive {
        section: "Service",
        name: "DelegateSubgroup",
        value: "NAME",
        documentation: "With Delegate=, ExecStart= runs in this group below the service's own; other commands then run in .control.",
        support: Support::Set(set_subgroup),
    },
    Directive {
        section: "Service",
        name: "DisableControllers",
        value: "CONTROLLER...",
        documentation: "Controllers not used below it: a service has no units below it, and with Delegate= sees to its groups itself.",
        support: Support::NoEffect,
    },
];

fn set_slice(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let name = value.expanded();
    unit.service.resources.slice = match name.as_str() {
        "" => None,
        name => Some(slice_path(name).map(|_| name.to_string())?),
    };
    Ok(())
}

fn set_delegate(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let resources = &mut unit.service.resources;
    // Empty, it is delegated without any controller.
    if value.is_reset() {
        resources.delegate = true;
        return Ok(());
    }
    if let Ok(on) = value::boolean(value.text) {
        resources.delegate = on;
        return Ok(());
    }
    resources.delegate = true;
    let words = value.words()?;
    let unknown: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| !CONTROLLERS.contains(word))
        .collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(format!("{} is no controller", unknown.join(", "))),
    }
}

fn set_subgroup(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let name = value.expanded();
    unit.service.resources.subgroup = match name.as_str() {
        "" => None,
        name if is_subgroup(name) => Some(name.into()),
        name => return Err(format!("{name:?} is not the name of a group")),
    };
    Ok(())
}

pub(super) fn plan(resources: &Resources, plan: &mut ExecPlan) {
    plan.cgroup.delegate = resources.delegate;
    plan.cgroup.subgroup = resources.subgroup.clone().filter(|_| resources.delegate);
}
