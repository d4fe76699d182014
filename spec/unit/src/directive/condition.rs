//! `Condition…=` and `Assert…=`: checks before a start; a failed condition skips the unit, a failed assert fails it.

use serde::{Deserialize, Serialize};

use super::Value;
use crate::finding::Place;
use crate::unit::Unit;
use crate::value;

mod rows;

use rows::CHECKS;
pub use rows::ROWS;

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
    /// The machine is on AC power, or knows of no AC connector.
    ACPower,
    /// The kernel's release compares so.
    KernelVersion,
    /// The version of the kernel or of systemd compares so.
    Version,
    /// /usr is newer than .updated in /etc or /var, and the folder is writable.
    NeedsUpdate,
    /// A security technology such as selinux or tpm2 is in use.
    Security,
    /// PID 1 runs as this user, which is root.
    User,
    /// PID 1 runs as this group, which is root.
    Group,
    /// The kernel has these controllers.
    ControlGroupController,
    /// PID 1 has the variable, or the variable with this value.
    Environment,
    /// The machine was handed a credential of this name.
    Credential,
    /// The machine's memory compares so.
    Memory,
    /// The number of processors that PID 1 may run on compares so.
    CPUs,
    /// The processor has the feature, by the flags of /proc/cpuinfo.
    CPUFeature,
    /// Fields of os-release compare so.
    OSRelease,
    /// uefi, device-tree, device-tree-compatible(NAME), or smbios-field(FIELD OPERATOR VALUE).
    Firmware,
    /// The path's file system lies on dm-crypt.
    PathIsEncrypted,
    /// The kernel module is loaded or built in.
    KernelModuleLoaded,
    /// Tasks wait for the processor for no more of the time than this.
    CPUPressure,
    /// The same of disks.
    IOPressure,
    /// The same of memory.
    MemoryPressure,
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
            | Check::PathIsEncrypted
            | Check::NeedsUpdate
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
