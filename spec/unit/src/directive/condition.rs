//! `Condition…=` and `Assert…=`: checks before a start; a failed condition skips the unit, a failed assert fails it.

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::finding::Place;
use crate::unit::Unit;
use crate::value;

/// What is checked. Who evaluates it is PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Something stands at the path.
    PathExists,
    /// Something matches the pattern.
    PathExistsGlob,
    /// A folder stands at the path.
    PathIsDirectory,
    /// A symbolic link stands at the path.
    PathIsSymbolicLink,
    /// A file system is mounted at the path.
    PathIsMountPoint,
    /// The path is on a writable file system.
    PathIsReadWrite,
    /// The folder holds something.
    DirectoryNotEmpty,
    /// The file is longer than nothing.
    FileNotEmpty,
    /// The file may be executed.
    FileIsExecutable,
    /// The word, or `name=value`, is on the kernel command line.
    KernelCommandLine,
    /// The host name or machine id.
    Host,
    /// yes, no, vm, container, or the technology.
    Virtualization,
    /// The machine's architecture, such as x86-64.
    Architecture,
    /// PID 1 has this capability.
    Capability,
    /// The machine booted for the first time.
    FirstBoot,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What is checked.
    pub check: Check,
    /// Against what.
    pub argument: String,
    /// `!`: the outcome is turned round.
    pub negated: bool,
    /// `|`: of all checks with it, one must hold.
    pub trigger: bool,
    /// A failed one fails the unit, and does not just skip it.
    pub assert: bool,
    /// Its line.
    pub at: Place,
}

impl Condition {
    /// The directive it came from.
    pub fn name(&self) -> &'static str {
        let row = CHECKS.iter().find(|(_, _, check)| *check == self.check);
        row.map_or(
            "Condition",
            |(condition, assert, _)| if self.assert { assert } else { condition },
        )
    }
}

const CHECKS: &[(&str, &str, Check)] = &[
    ("ConditionPathExists", "AssertPathExists", Check::PathExists),
    (
        "ConditionPathExistsGlob",
        "AssertPathExistsGlob",
        Check::PathExistsGlob,
    ),
    (
        "ConditionPathIsDirectory",
        "AssertPathIsDirectory",
        Check::PathIsDirectory,
    ),
    (
        "ConditionPathIsSymbolicLink",
        "AssertPathIsSymbolicLink",
        Check::PathIsSymbolicLink,
    ),
    (
        "ConditionPathIsMountPoint",
        "AssertPathIsMountPoint",
        Check::PathIsMountPoint,
    ),
    (
        "ConditionPathIsReadWrite",
        "AssertPathIsReadWrite",
        Check::PathIsReadWrite,
    ),
    (
        "ConditionDirectoryNotEmpty",
        "AssertDirectoryNotEmpty",
        Check::DirectoryNotEmpty,
    ),
    (
        "ConditionFileNotEmpty",
        "AssertFileNotEmpty",
        Check::FileNotEmpty,
    ),
    (
        "ConditionFileIsExecutable",
        "AssertFileIsExecutable",
        Check::FileIsExecutable,
    ),
    (
        "ConditionKernelCommandLine",
        "AssertKernelCommandLine",
        Check::KernelCommandLine,
    ),
    ("ConditionHost", "AssertHost", Check::Host),
    (
        "ConditionVirtualization",
        "AssertVirtualization",
        Check::Virtualization,
    ),
    (
        "ConditionArchitecture",
        "AssertArchitecture",
        Check::Architecture,
    ),
    ("ConditionCapability", "AssertCapability", Check::Capability),
    ("ConditionFirstBoot", "AssertFirstBoot", Check::FirstBoot),
];

const fn row(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Unit",
        name,
        value: "[|][!]VALUE",
        documentation,
        support: Support::Set(add),
    }
}

const fn later(name: &'static str) -> Directive {
    let documentation = "Not checked yet: the unit starts as if it held.";
    Directive {
        section: "Unit",
        name,
        value: "[|][!]VALUE",
        documentation,
        support: Support::Later,
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row("ConditionPathExists", "Something stands at the path."),
    row(
        "AssertPathExists",
        "Something stands at the path, or the unit fails.",
    ),
    row(
        "ConditionPathExistsGlob",
        "Something matches the pattern (* and ? in the last part).",
    ),
    row(
        "AssertPathExistsGlob",
        "Something matches the pattern, or the unit fails.",
    ),
    row("ConditionPathIsDirectory", "A folder stands at the path."),
    row(
        "AssertPathIsDirectory",
        "A folder stands at the path, or the unit fails.",
    ),
    row(
        "ConditionPathIsSymbolicLink",
        "A symbolic link stands at the path.",
    ),
    row(
        "AssertPathIsSymbolicLink",
        "A symbolic link stands at the path, or the unit fails.",
    ),
    row(
        "ConditionPathIsMountPoint",
        "A file system is mounted at the path.",
    ),
    row(
        "AssertPathIsMountPoint",
        "A file system is mounted at the path, or the unit fails.",
    ),
    row(
        "ConditionPathIsReadWrite",
        "The path is on a writable file system.",
    ),
    row(
        "AssertPathIsReadWrite",
        "The path is on a writable file system, or the unit fails.",
    ),
    row("ConditionDirectoryNotEmpty", "The folder holds something."),
    row(
        "AssertDirectoryNotEmpty",
        "The folder holds something, or the unit fails.",
    ),
    row("ConditionFileNotEmpty", "The file is longer than nothing."),
    row(
        "AssertFileNotEmpty",
        "The file is longer than nothing, or the unit fails.",
    ),
    row("ConditionFileIsExecutable", "The file may be executed."),
    row(
        "AssertFileIsExecutable",
        "The file may be executed, or the unit fails.",
    ),
    row(
        "ConditionKernelCommandLine",
        "The word, or name=value, is on the kernel command line.",
    ),
    row(
        "AssertKernelCommandLine",
        "The word is on the kernel command line, or the unit fails.",
    ),
    row(
        "ConditionHost",
        "The host name (with * and ?) or machine id.",
    ),
    row(
        "AssertHost",
        "The host name or machine id, or the unit fails.",
    ),
    row(
        "ConditionVirtualization",
        "yes, no, vm, container, or a technology such as kvm or qemu.",
    ),
    row("AssertVirtualization", "The same, or the unit fails."),
    row(
        "ConditionArchitecture",
        "The machine's architecture, such as x86-64, or native.",
    ),
    row("AssertArchitecture", "The same, or the unit fails."),
    row("ConditionCapability", "PID 1 has this capability."),
    row(
        "AssertCapability",
        "PID 1 has this capability, or the unit fails.",
    ),
    row(
        "ConditionFirstBoot",
        "The state partition was made at this boot.",
    ),
    row(
        "AssertFirstBoot",
        "The state partition was made at this boot, or the unit fails.",
    ),
    later("ConditionACPower"),
    later("ConditionKernelVersion"),
    later("ConditionNeedsUpdate"),
    later("ConditionSecurity"),
    later("ConditionUser"),
    later("ConditionGroup"),
    later("ConditionControlGroupController"),
    later("ConditionEnvironment"),
    later("ConditionCredential"),
    later("ConditionMemory"),
    later("ConditionCPUs"),
    later("ConditionCPUFeature"),
    later("ConditionOSRelease"),
    later("ConditionFirmware"),
    later("ConditionPathIsEncrypted"),
    later("ConditionKernelModuleLoaded"),
    later("ConditionVersion"),
];

fn add(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    if value.is_reset() {
        // As in systemd, one empty check takes back all of its kind: conditions or asserts.
        let assert = value.name.starts_with("Assert");
        unit.conditions
            .retain(|condition| condition.assert != assert);
        return Ok(());
    }
    let row = CHECKS
        .iter()
        .find(|(condition, assert, _)| [condition, assert].contains(&&value.name));
    let (_, assert, check) = row.ok_or("is not a check")?;
    let text = value.expanded();
    let (trigger, text) = text
        .strip_prefix('|')
        .map_or((false, text.as_str()), |text| (true, text.trim_start()));
    let (negated, text) = text
        .strip_prefix('!')
        .map_or((false, text), |text| (true, text.trim_start()));
    let paths = matches!(
        check,
        Check::PathExists
            | Check::PathExistsGlob
            | Check::PathIsDirectory
            | Check::PathIsSymbolicLink
            | Check::PathIsMountPoint
            | Check::PathIsReadWrite
            | Check::DirectoryNotEmpty
            | Check::FileNotEmpty
            | Check::FileIsExecutable
    );
    let argument = if paths {
        value::path(text)?
    } else {
        text.to_string()
    };
    let (check, assert, at) = (*check, *assert == value.name, value.at.clone());
    unit.conditions.push(Condition {
        check,
        argument,
        negated,
        trigger,
        assert,
        at,
    });
    Ok(())
}
