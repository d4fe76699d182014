//! The units that check filters of system calls from inside, run here: with their filter, and without it.

use std::path::Path;

use spec_unit::directive::Planning;
use spec_unit::load::Loader;
use spec_unit::plan::Seccomp;

use super::*;
use crate::unit::node::{NodePlanHost, UnitFiles, accounts, facts};

const UNITS: [&str; 11] = [
    "check-LockPersonality.service",
    "check-MemoryDenyWriteExecute.service",
    "check-Personality.service",
    "check-RestrictAddressFamilies.service",
    "check-RestrictNamespaces.service",
    "check-RestrictRealtime.service",
    "check-RestrictSUIDSGID.service",
    "check-SystemCallArchitectures.service",
    "check-SystemCallErrorNumber.service",
    "check-SystemCallFilter.service",
    "check-SystemCallLog.service",
];
/// Where their scripts are on a node.
const SCRIPTS: &str = "/usr/lib/bedplate-check/";

/// The plans of a unit's commands, with the scripts where they are here.
fn plans(overlay: &Path, unit: &str) -> Vec<ExecPlan> {
    let facts = facts();
    let files = UnitFiles::below(overlay);
    let loaded = Loader::new(&files, &facts).unwrap().load(unit).unwrap();
    assert_eq!(loaded.unit.load_error(), None);
    let host = NodePlanHost {
        accounts: accounts().into(),
        facts: &facts,
    };
    let scripts = format!("{}{SCRIPTS}", overlay.display());
    let plan = |command| {
        let mut plan = ExecPlan::of(&Planning {
            unit: &loaded.unit,
            command,
            host: &host,
            variables: &[],
        })
        .unwrap();
        for argument in &mut plan.argv {
            *argument = argument.replace(SCRIPTS, &scripts);
        }
        plan
    };
    loaded.unit.service.exec.start.iter().map(plan).collect()
}

fn passes(plan: &ExecPlan) -> bool {
    let mut spawned = spawn(plan, "a.service", None, &[], &none()).unwrap();
    assert_eq!(outcome(&mut spawned.report), ExecOutcome::Runs);
    matches!(wait(spawned.pid), nix::sys::wait::WaitStatus::Exited(_, 0))
}

#[test]
fn each_passes_and_fails_without_its_filter() {
    let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../overlays/check");
    if !nix::unistd::geteuid().is_root() || !overlay.is_dir() {
        eprintln!("skipped: needs root and the overlay of checks");
        return;
    }
    for unit in UNITS {
        if unit.contains("-Personality") && cfg!(target_arch = "aarch64") {
            continue;
        }
        for mut plan in plans(&overlay, unit) {
            assert!(passes(&plan), "{unit}");
            if plan.seccomp.is_empty() && plan.personality.is_none() {
                continue; // A command with "+".
            }
            plan.seccomp = Seccomp::default();
            plan.personality = None;
            assert!(!passes(&plan), "{unit} passes without its filter");
        }
    }
}
