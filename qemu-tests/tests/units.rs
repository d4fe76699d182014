//! Each directive has its effect: the units of overlays/check, which check themselves from inside.

use qemu_tests::{
    ClusterSpec,
    cluster::{BootWay, Cluster},
    runner::{self, Context, Outcome, Stop, Test, check},
};
use spec_api::{LogQuery, Unit};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

const TESTS: &[Test] = &[Test::new(
    "every_directive_has_its_effect",
    2,
    600,
    every_directive_has_its_effect,
)];

fn main() -> ExitCode {
    runner::main("units", TESTS)
}

/// How long all checks may take together; each has a minute for what it waits for.
const CHECKS: Duration = Duration::from_secs(400);
/// How many lines are shown of a check that failed.
const LINES: u32 = 8;

/// The checks, by name with their description. Their partners belong to no target.
fn checks() -> Result<BTreeMap<String, String>, Stop> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../overlays/check/usr/lib/systemd/system"
    );
    let failed = |cause: std::io::Error| Stop::Failed(format!("{folder}: {cause}"));
    let mut checks = BTreeMap::new();
    for entry in fs::read_dir(Path::new(folder)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let text = fs::read_to_string(entry.path()).map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("check-") && text.contains("\nWantedBy=check.target\n") {
            let said = |line: &str| line.strip_prefix("Description=").map(str::to_owned);
            let description = text.lines().find_map(said).unwrap_or_default();
            checks.insert(name, description);
        }
    }
    Ok(checks)
}

/// The check has run and ended, or will not run any more.
fn is_over(unit: &Unit) -> bool {
    let started = unit.main_started_us.is_some() || unit.result != "success";
    started && ["inactive", "active", "failed"].contains(&unit.active.as_str())
}

/// What is wrong with a check that has ended; nothing if it ended well.
fn complaint(unit: &Unit, description: &str) -> Option<String> {
    let fine = unit.load == "loaded"
        && unit.result == "success"
        && unit.main_started_us.is_some()
        && ["inactive", "active"].contains(&unit.active.as_str());
    if fine && unit.description == description {
        return None;
    }
    let Unit {
        name,
        load,
        active,
        sub,
        result,
        ..
    } = unit;
    let reason = unit.reason.as_deref().unwrap_or("no reason");
    Some(format!(
        "{name}: {load}, {active} ({sub}), {result}: {reason}"
    ))
}

fn every_directive_has_its_effect(context: &Context) -> Outcome {
    let checks = checks()?;
    let mut spec = ClusterSpec::new("u", &context.folder.join("u"), context.image("check")?);
    spec.masters = 1;
    spec.boot = BootWay::Direct;
    spec.cpus = 2;
    spec.memory_mib = 1024;
    let mut cluster = Cluster::create(spec)?;
    cluster.start()?;
    let api = cluster.node(0)?.api()?;

    let deadline = Instant::now() + CHECKS;
    let units: BTreeMap<String, Unit> = loop {
        // Until the node answers there are none.
        let units = api.units().unwrap_or_default();
        let units: BTreeMap<String, Unit> = units
            .into_iter()
            .map(|unit| (unit.name.clone(), unit))
            .collect();
        let over = |name: &String| units.get(name).is_some_and(is_over);
        if checks.keys().all(over) || Instant::now() > deadline {
            break units;
        }
        thread::sleep(Duration::from_secs(2));
    };
    context.say(&format!("{} checks have ended", checks.len()));

    let mut complaints = Vec::new();
    for (name, description) in &checks {
        let Some(unit) = units.get(name) else {
            complaints.push(format!("{name}: not loaded"));
            continue;
        };
        if let Some(complaint) = complaint(unit, description) {
            complaints.push(complaint);
            let query = LogQuery {
                unit: Some(name.clone()),
                lines: Some(LINES),
                ..LogQuery::default()
            };
            let told = api.logs(&query, |entry| {
                complaints.push(format!("    {}", entry.message));
                true
            });
            if let Err(error) = told {
                complaints.push(format!("    {error}"));
            }
        }
    }
    check(complaints.is_empty(), || complaints.join("\n"))
}
