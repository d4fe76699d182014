//! The cgroup of a service: its slice, its limits and weights, systemd.resource-control(5).
//!
//! - [`memory`]: MemoryMax=, TasksMax= and their like
//! - [`cpu`]: CPUWeight=, CPUQuota=, AllowedCPUs=
//! - [`io`]: IOWeight=, and limits of single disks
//! - [`delegate`]: Slice=, Delegate=
//! - [`startup`]: what holds instead while the node starts and stops
//! - [`oom`]: OOMPolicy=, MemoryPressureWatch=
//! - [`managed_oom`]: ManagedOOMMemoryPressure= and its like

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support};
use crate::name::{UnitName, UnitType, escape};
use crate::plan::{DeviceSetting, ExecPlan};
use crate::unit::Unit;
use crate::value::Amount;

pub mod cpu;
pub mod delegate;
pub mod io;
pub mod managed_oom;
pub mod memory;
pub mod oom;
pub mod startup;

/// The cgroup of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Slice=, if given.
    pub slice: Option<String>,
    /// Amounts, by cgroup file.
    pub amounts: BTreeMap<String, Amount>,
    /// Other values that confine, by cgroup file.
    pub values: BTreeMap<String, String>,
    /// Values that confine nothing, by cgroup file.
    pub hints: BTreeMap<String, String>,
    /// Amounts under an old name, which count where the new one is not given.
    pub old_amounts: BTreeMap<String, Amount>,
    /// Hints under an old name, which count where the new one is not given.
    pub old_hints: BTreeMap<String, String>,
    /// Startup…= amounts, by cgroup file.
    pub startup_amounts: BTreeMap<String, Amount>,
    /// Other Startup…= values, by cgroup file.
    pub startup_values: BTreeMap<String, String>,
    /// CPUQuota= and CPUQuotaPeriodSec=.
    pub quota: cpu::Quota,
    /// Settings of single disks.
    pub devices: Vec<DeviceSetting>,
    /// Delegate=.
    pub delegate: bool,
    /// DelegateSubgroup=.
    pub subgroup: Option<String>,
    /// OOMPolicy=, if given.
    pub oom: Option<oom::OomPolicy>,
    /// MemoryPressureWatch= and MemoryPressureThresholdSec=.
    pub pressure: oom::Pressure,
    /// ManagedOOM…=.
    pub managed_oom: managed_oom::ManagedOom,
}

const fn accounting(name: &'static str) -> Directive {
    let documentation = "Accounting is always on where the controller is.";
    Directive {
        section: "Service",
        name,
        value: "BOOLEAN",
        documentation,
        support: Support::NoEffect,
    }
}

const fn later(name: &'static str, value: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value,
        documentation,
        support: Support::Later,
    }
}

/// The path of a slice below the cgroup root: `a-b.slice` is `a.slice/a-b.slice`, `-.slice` the root itself.
pub fn slice_path(name: &str) -> Result<String, String> {
    let parsed = UnitName::parse(name)?;
    let refuse = || format!("{name:?} is not a slice");
    if parsed.kind != UnitType::Slice || parsed.instance.is_some() {
        return Err(refuse());
    }
    if parsed.prefix == "-" {
        return Ok(String::new());
    }
    let mut path = String::new();
    let mut prefix = String::new();
    for part in parsed.prefix.split('-') {
        if part.is_empty() {
            return Err(refuse());
        }
        prefix.push_str(part);
        path.push_str(&format!(
            "{}{prefix}.slice",
            if path.is_empty() { "" } else { "/" }
        ));
        prefix.push('-');
    }
    Ok(path)
}

/// The slice that a slice is in: `a.slice` of `a-b.slice`, `-.slice` of `a.slice`; the root is in none.
pub fn parent_slice(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".slice").filter(|stem| *stem != "-")?;
    Some(match stem.rsplit_once('-') {
        Some((parent, _)) => format!("{parent}.slice"),
        None => ROOT_SLICE.into(),
    })
}

/// The root of the tree.
pub const ROOT_SLICE: &str = "-.slice";
/// Where units are that say nothing else.
pub const SYSTEM_SLICE: &str = "system.slice";

/// The slice that a unit is in: Slice=, or that of its template (`system-NAME.slice`), or system.slice. Targets, devices
/// and the root slice are in none.
pub fn slice_of(unit: &Unit) -> Option<String> {
    match unit.kind {
        UnitType::Slice => return parent_slice(&unit.name),
        UnitType::Service => {}
        _ => return None,
    }
    if let Some(given) = &unit.service.resources.slice {
        return Some(given.clone());
    }
    let instance = UnitName::parse(&unit.name)
        .ok()
        .filter(|name| name.instance.is_some());
    Some(match instance {
        Some(name) => format!("system-{}.slice", escape(&name.prefix)),
        None => SYSTEM_SLICE.into(),
    })
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let unit = planning.unit;
    let resources = &unit.service.resources;
    let slice = slice_path(&slice_of(unit).unwrap_or_else(|| SYSTEM_SLICE.into()))?;
    let parent = if slice.is_empty() { slice } else { slice + "/" };
    plan.cgroup.path = format!("{parent}{}", unit.name);
    plan_group(planning, plan);
    memory::plan_tasks(resources, planning.host.facts(), plan);
    delegate::plan(resources, plan);
    oom::plan(resources, plan);
    Ok(())
}

/// What services and slices have in the same way.
pub(super) fn plan_group(planning: &Planning<'_>, plan: &mut ExecPlan) {
    let (resources, facts) = (&planning.unit.service.resources, planning.host.facts());
    plan.cgroup.settings = resources.values.clone();
    plan.cgroup.hints = resources.hints.clone();
    plan.cgroup.devices = resources.devices.clone();
    memory::plan(resources, facts, plan);
    cpu::plan(resources, plan);
    startup::plan(resources, facts, plan);
}

#[cfg(test)]
mod tests;
