//! The cgroup of a service: its slice, its limits and weights, systemd.resource-control(5).
//!
//! - [`memory`]: MemoryMax=, TasksMax= and their like
//! - [`cpu`]: CPUWeight=, CPUQuota=, AllowedCPUs=
//! - [`io`]: IOWeight=, and limits of single disks
//! - [`delegate`]: Slice=, Delegate=
//! - [`startup`]: what holds instead while the node starts and stops
//! - [`oom`]: OOMPolicy=, MemoryPressureWatch=

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support};
use crate::name::{UnitName, UnitType};
use crate::plan::{DeviceSetting, ExecPlan};
use crate::value::Amount;

pub mod cpu;
pub mod delegate;
pub mod io;
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

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let unit = planning.unit;
    let resources = &unit.service.resources;
    let slice = slice_path(resources.slice.as_deref().unwrap_or("system.slice"))?;
    let parent = if slice.is_empty() { slice } else { slice + "/" };
    plan.cgroup.path = format!("{parent}{}", unit.name);
    plan.cgroup.settings = resources.values.clone();
    plan.cgroup.hints = resources.hints.clone();
    plan.cgroup.devices = resources.devices.clone();
    memory::plan(resources, planning.host.facts(), plan);
    cpu::plan(resources, plan);
    startup::plan(resources, planning.host.facts(), plan);
    delegate::plan(resources, plan);
    oom::plan(resources, plan);
    Ok(())
}

#[cfg(test)]
mod tests;
