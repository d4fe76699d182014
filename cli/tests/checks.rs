//! Each directive that PID 1 honours has a unit in overlays/check that checks its effect from inside a machine.
//! `X-Checks=` of a unit names what it checks: `Name`, in every section that has it, or `Section.Name`.

use spec_unit::directive::{Support, table};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What no unit can see from inside, and why. The key is `Section.Name`.
const UNSEEN: &[(&str, &str)] = &[
    (
        "Unit.Description",
        "for people: the test `units` compares it with what the API says",
    ),
    (
        "Unit.Documentation",
        "for people, and without effect in systemd too",
    ),
    (
        "Unit.RefuseManualStart",
        "no unit starts another by hand; tests of the supervisor do",
    ),
    (
        "Unit.RefuseManualStop",
        "no unit stops another by hand; tests of the supervisor do",
    ),
    (
        "Unit.PropagatesReloadTo",
        "no unit reloads another; tests of the supervisor do",
    ),
    (
        "Service.ExecReload",
        "no unit reloads another; tests of the supervisor do",
    ),
    (
        "Service.ReloadSignal",
        "no unit reloads another; tests of the supervisor do",
    ),
    (
        "Service.RestartKillSignal",
        "no unit restarts another by hand; tests of the supervisor do",
    ),
    (
        "Service.StartLimitIntervalSec",
        "systemd knows it in [Unit] only; here it is the same function",
    ),
    (
        "Service.SyslogIdentifier",
        "seen in the journal only: tests of PID 1 read what its stream begins with",
    ),
    (
        "Service.SyslogFacility",
        "seen in the journal only: tests of PID 1 read what its stream begins with",
    ),
    (
        "Service.SyslogLevel",
        "seen in the journal only: tests of PID 1 read what its stream begins with",
    ),
    (
        "Service.SyslogLevelPrefix",
        "seen in the journal only: tests of PID 1 read what its stream begins with",
    ),
    (
        "Unit.FailureAction",
        "it would end the machine that looks; tests of the supervisor do",
    ),
    (
        "Service.FailureAction",
        "it would end the machine that looks; tests of the supervisor do",
    ),
    (
        "Unit.SuccessAction",
        "it would end the machine that looks; tests of the supervisor do",
    ),
    (
        "Unit.StartLimitAction",
        "it would end the machine that looks; tests of the supervisor do",
    ),
    (
        "Service.StartLimitAction",
        "it would end the machine that looks; tests of the supervisor do",
    ),
    (
        "Unit.JobTimeoutAction",
        "it would end the machine that looks; tests of the supervisor do",
    ),
    (
        "Unit.RebootArgument",
        "it would end the machine that looks; tests of the supervisor do",
    ),
    (
        "Service.RebootArgument",
        "it would end the machine that looks; tests of the supervisor do",
    ),
    (
        "Unit.JobTimeoutRebootArgument",
        "it would end the machine that looks; tests of the supervisor do",
    ),
    (
        "Unit.ReloadPropagatedFrom",
        "no unit reloads another; tests of the supervisor do",
    ),
    (
        "Unit.PropagateReloadTo",
        "no unit reloads another; a golden text says that it is PropagatesReloadTo=",
    ),
    (
        "Unit.PropagateReloadFrom",
        "no unit reloads another; a golden text says that it is ReloadPropagatedFrom=",
    ),
    (
        "Unit.PropagatesStopTo",
        "it takes a stop or job by hand; tests of the supervisor do",
    ),
    (
        "Unit.JobTimeoutSec",
        "it takes a stop or job by hand; tests of the supervisor do",
    ),
    (
        "Unit.JobRunningTimeoutSec",
        "it takes a stop or job by hand; tests of the supervisor do",
    ),
    (
        "Unit.OnFailureJobMode",
        "it takes a stop or job by hand; tests of the supervisor do",
    ),
    (
        "Unit.OnSuccessJobMode",
        "it takes a stop or job by hand; tests of the supervisor do",
    ),
    (
        "Unit.ConditionVersion",
        "systemd 258 brings it, and the units run under 257 too; tests of PID 1 do",
    ),
    (
        "Unit.AssertVersion",
        "systemd 258 brings it, and the units run under 257 too; tests of PID 1 do",
    ),
    (
        "Unit.AssertFirmware",
        "systemd 257 has the condition alone, and the units run under 257 too; it is the same function",
    ),
    (
        "Unit.ConditionKernelModuleLoaded",
        "systemd 258 brings it, and the units run under 257 too; tests of PID 1 do",
    ),
    (
        "Unit.AssertKernelModuleLoaded",
        "systemd 258 brings it, and the units run under 257 too; tests of PID 1 do",
    ),
    (
        "Unit.ConditionNeedsUpdate",
        "whether it holds depends on the image; tests of PID 1 do",
    ),
    (
        "Unit.AssertNeedsUpdate",
        "whether it holds depends on the image; tests of PID 1 do",
    ),
    (
        "Service.BlockIOWeight",
        "Debian's kernels have no file for it; golden plans do",
    ),
    (
        "Service.IODeviceWeight",
        "Debian's kernels have no file for it; golden plans do",
    ),
    (
        "Service.BlockIODeviceWeight",
        "Debian's kernels have no file for it; golden plans do",
    ),
    (
        "Service.StartupIOWeight",
        "Debian's kernels have no file for it; golden plans do",
    ),
    (
        "Service.IODeviceLatencyTargetSec",
        "Debian's kernels have no file for it; golden plans do",
    ),
    (
        "Service.MemoryZSwapWriteback",
        "the machine has no swap and one memory node; golden plans do",
    ),
    (
        "Service.StartupMemorySwapMax",
        "the machine has no swap and one memory node; golden plans do",
    ),
    (
        "Service.StartupMemoryZSwapMax",
        "the machine has no swap and one memory node; golden plans do",
    ),
    (
        "Service.StartupAllowedMemoryNodes",
        "the machine has no swap and one memory node; golden plans do",
    ),
    (
        "Service.ManagedOOMSwap",
        "the machine has no swap; tests of the choice do",
    ),
    (
        "Slice.ManagedOOMSwap",
        "the machine has no swap; tests of the choice do",
    ),
    (
        "Service.FileDescriptorStorePreserve",
        "it takes a stop and a start by hand; tests of the supervisor do",
    ),
    (
        "Mount.LazyUnmount",
        "no unit unmounts what it looks at; golden texts and the call itself say it",
    ),
    (
        "Mount.ForceUnmount",
        "it takes a file server that does not answer; golden texts and the call itself say it",
    ),
    (
        "Mount.ReadWriteOnly",
        "the machine has no disk that can only be read and a file system that could be written",
    ),
];

fn overlay() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays/check/usr/lib")
}

/// The units of the overlay, by name.
fn units() -> BTreeMap<String, String> {
    let folder = fs::read_dir(overlay().join("systemd/system")).expect("the overlay is there");
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).expect("readable");
        // A mount is named after its path, in which a "-" is written so.
        let name = entry.file_name().to_string_lossy().replace("\\x2d", "-");
        (name, text)
    };
    folder
        .map(|entry| read(entry.expect("readable")))
        .filter(|(name, _)| {
            [".service", ".mount", ".slice"]
                .iter()
                .any(|kind| name.ends_with(kind))
        })
        .collect()
}

/// What a unit says that it checks.
fn checked(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("X-Checks="))
        .flat_map(str::split_whitespace)
        .collect()
}

#[test]
fn every_honoured_directive_has_a_unit_that_checks_it() {
    let units = units();
    let checked: BTreeSet<&str> = units.values().flat_map(|text| checked(text)).collect();
    let mut missing = Vec::new();
    let mut seen = Vec::new();
    for row in table() {
        if !matches!(
            row.support,
            Support::Set(_) | Support::Must(_) | Support::Confine(_)
        ) {
            continue;
        }
        let whole = format!("{}.{}", row.section, row.name);
        let has = checked.contains(row.name) || checked.contains(whole.as_str());
        let unseen = UNSEEN.iter().any(|(name, _)| *name == whole);
        match (has, unseen) {
            (false, false) => missing.push(whole),
            (true, true) => seen.push(whole),
            _ => {}
        }
    }
    assert!(
        missing.is_empty(),
        "no unit of overlays/check has an X-Checks= that names {}",
        missing.join(", ")
    );
    assert!(
        seen.is_empty(),
        "listed as unseen, and checked all the same: {}",
        seen.join(", ")
    );
}

#[test]
fn what_a_unit_checks_it_sets_and_its_partners_set() {
    let units = units();
    let mut wrong = Vec::new();
    for (name, text) in &units {
        let own = name.trim_end_matches(".service");
        // Its partners are named after it, or after it with another beginning; or it is in them.
        let is_in = |slice: &str| text.contains(&format!("\nSlice={slice}\n"));
        let family: String = units
            .iter()
            .filter(|(other, _)| other.contains(own) || is_in(other))
            .map(|(_, text)| text.as_str())
            .collect();
        for checked in checked(text) {
            let (section, directive) = match checked.split_once('.') {
                Some((section, directive)) => (Some(section), directive),
                None => (None, checked),
            };
            let known = table().any(|row| {
                row.name == directive && section.is_none_or(|section| section == row.section)
            });
            if !known {
                wrong.push(format!("{name}: there is no directive {checked}"));
            } else if !family.contains(&format!("\n{directive}=")) {
                wrong.push(format!(
                    "{name}: neither it nor a partner sets {directive}="
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn checks_belong_to_the_target_and_partners_do_not() {
    let mut wrong = Vec::new();
    for (name, text) in &units() {
        let is_check = !checked(text).is_empty();
        let wanted = text.contains("\nWantedBy=check.target\n");
        if is_check != wanted {
            wrong.push(format!(
                "{name}: X-Checks= and WantedBy=check.target go together"
            ));
        }
        if !is_check && name.starts_with("check-") && text.contains("\n[Install]\n") {
            wrong.push(format!(
                "{name}: a partner has no [Install], or it is enabled too"
            ));
        }
        if !name.contains("check-") {
            wrong.push(format!("{name}: its name does not begin with check-"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
