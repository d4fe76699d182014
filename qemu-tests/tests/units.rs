//! Each directive has its effect: the units of overlays/check, which check themselves from inside. And each unit ends
//! as it does under Debian's systemd, those of overlays/differ too, which fail on purpose.

use qemu_tests::{
    Boot, ClusterSpec, Vm, VmSpec,
    cluster::{BootWay, Cluster},
    runner::{self, Context, Outcome, Stop, Test, check},
    states::{self, State},
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

const TESTS: &[Test] = &[
    Test::new(
        "every_directive_has_its_effect",
        2,
        600,
        every_directive_has_its_effect,
    ),
    Test::new(
        "debians_systemd_says_the_same",
        2,
        5400,
        debians_systemd_says_the_same,
    ),
];

fn main() -> ExitCode {
    runner::main("units", TESTS)
}

/// How long all checks may take together; each has a minute for what it waits for.
const CHECKS: Duration = Duration::from_secs(400);
/// How many lines are shown of a check that failed.
const LINES: u32 = 8;

/// How long the units may take until nothing changes any more, from the power button.
const SETTLED: Duration = Duration::from_secs(1500);
/// Nothing changes any more when nothing has changed for this long.
const STILL: Duration = Duration::from_secs(45);
/// What the comparison is to be made of at the least.
const COMPARED: usize = 150;
/// How many units that differ are started once more, alone: what is more than this is no slowness.
const AGAIN: usize = 12;

/// The unit files of an overlay, by name.
fn unit_files(overlay: &str) -> Result<BTreeMap<String, String>, Stop> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../overlays");
    let folder = format!("{root}/{overlay}/usr/lib/systemd/system");
    let failed = |cause: std::io::Error| Stop::Failed(format!("{folder}: {cause}"));
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(Path::new(&folder)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let text = fs::read_to_string(entry.path()).map_err(failed)?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), text);
    }
    Ok(files)
}

/// The value of a line of a unit file.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// The checks, by name with their description. Their partners belong to no target.
fn checks() -> Result<BTreeMap<String, String>, Stop> {
    let mut checks = BTreeMap::new();
    for (name, text) in unit_files("check")? {
        if name.starts_with("check-") && text.contains("\nWantedBy=check.target\n") {
            let description = value(&text, "Description").unwrap_or_default();
            checks.insert(name, description.to_owned());
        }
    }
    Ok(checks)
}

/// The check has run and ended, or has failed to run.
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

/// A node of the image `check`, which starts its units.
fn started(context: &Context) -> Result<Cluster, Stop> {
    let mut spec = ClusterSpec::new("u", &context.folder.join("u"), context.image("check")?);
    spec.masters = 1;
    spec.boot = BootWay::Direct;
    spec.cpus = 2;
    spec.memory_mib = 1024;
    let mut cluster = Cluster::create(spec)?;
    cluster.start()?;
    Ok(cluster)
}

fn every_directive_has_its_effect(context: &Context) -> Outcome {
    let checks = checks()?;
    let cluster = started(context)?;
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

/// The state of every unit under our PID 1, once nothing changes any more.
fn states_of_ours(context: &Context) -> Result<BTreeMap<String, State>, Stop> {
    let cluster = started(context)?;
    let api = cluster.node(0)?.api()?;
    let deadline = Instant::now() + SETTLED;
    let (mut states, mut since) = (BTreeMap::new(), Instant::now());
    loop {
        // Until the node answers there are none.
        let units = api.units().unwrap_or_default();
        // A unit that still waits for its turn changes nothing either.
        let target = units.iter().find(|unit| unit.name == "differ.target");
        let reached = target.is_some_and(|unit| unit.active == "active");
        let now: BTreeMap<String, State> = units
            .iter()
            .map(|unit| (unit.name.clone(), State::of_unit(unit)))
            .collect();
        if now != states || !reached {
            (states, since) = (now, Instant::now());
        }
        if since.elapsed() > STILL {
            return Ok(states);
        }
        if Instant::now() > deadline {
            return Err(Stop::Failed(
                "the units of our PID 1 do not come to rest".into(),
            ));
        }
        thread::sleep(Duration::from_secs(5));
    }
}

/// The state of every unit under Debian's systemd, as the machine `name` tells it on its console. With words on the
/// kernel's command line it may be of some units only.
fn states_of_systemd(
    context: &Context,
    name: &str,
    words: &str,
) -> Result<BTreeMap<String, State>, Stop> {
    let image = context.image("check-systemd")?;
    let mut spec = VmSpec::of_image(name, &context.folder.join(name), &image)?;
    spec.cpus = 2;
    spec.memory_mib = 1024;
    if let Boot::Direct { cmdline, .. } = &mut spec.boot {
        *cmdline = format!("{cmdline} {words}");
    }
    let mut vm = Vm::new(spec)?;
    vm.start(context.accel())?;
    // Not the line that is read below, which may be half written.
    vm.serial().wait_for(states::TOLD, SETTLED)?;
    let console = fs::read(vm.serial_path()).map_err(|error| Stop::Failed(error.to_string()))?;
    Ok(states::of_console(&String::from_utf8_lossy(&console))?)
}

/// How each unit of overlays/differ ends, as its file says.
fn expected() -> Result<BTreeMap<String, State>, Stop> {
    let mut expected = BTreeMap::new();
    for (name, text) in unit_files("differ")? {
        if let Some(state) = value(&text, "X-Expect") {
            let state = state.parse().map_err(Stop::Failed)?;
            expected.insert(name, state);
        }
    }
    Ok(expected)
}

/// The units that complaints are about, each once.
fn units_of(complaints: &[String]) -> Vec<String> {
    let units = complaints
        .iter()
        .filter_map(|complaint| complaint.split_once(": "));
    let mut units: Vec<String> = units.map(|(unit, _)| unit.to_owned()).collect();
    units.sort();
    units.dedup();
    units
}

/// Unit files that name one of these units: a check ends its partners.
fn with_who_names(units: &[String]) -> Result<Vec<String>, Stop> {
    let mut all = units.to_vec();
    let files = unit_files("check")?
        .into_iter()
        .chain(unit_files("differ")?);
    for (name, text) in files {
        let mut words = text.split(|c: char| c.is_whitespace() || c == '=');
        if !name.contains('@') && words.any(|word| units.iter().any(|unit| unit == word)) {
            all.push(name);
        }
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// Under systemd an emulated machine that starts hundreds of units at once may be too slow for a deadline in one of
/// them. What differs is started once more, alone, on a machine of its own, and that state counts.
fn again(
    context: &Context,
    systemd: &mut BTreeMap<String, State>,
    differ: &[String],
) -> Result<(), Stop> {
    if differ.is_empty() || differ.len() > AGAIN {
        return Ok(());
    }
    context.say(&format!("once more, alone: {}", differ.join(" ")));
    let units = with_who_names(differ)?;
    let words: Vec<&str> = units.iter().map(String::as_str).collect();
    let mut alone = states_of_systemd(context, "systemd-again", &states::alone(&words))?;
    for unit in differ {
        if let Some(state) = alone.remove(unit) {
            context.say(&format!("{unit}: alone {state}"));
            if let Some(first) = systemd.insert(unit.clone(), state) {
                context.say(&format!("{unit}: among all {first}"));
            }
        }
    }
    Ok(())
}

fn debians_systemd_says_the_same(context: &Context) -> Outcome {
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/systemd-differences.md"
    );
    let page = fs::read_to_string(page).map_err(|error| Stop::Failed(error.to_string()))?;
    let known = states::known(&page)?;
    let expected = expected()?;
    let mut systemd = states_of_systemd(context, "systemd", "")?;
    context.say(&format!("systemd tells of {} units", systemd.len()));
    let mut ours = states_of_ours(context)?;
    ours.retain(|unit, _| systemd.contains_key(unit));
    context.say(&format!("ours tells of {} of them", ours.len()));
    let unlike = |systemd: &BTreeMap<String, State>| {
        let mut complaints = states::compare(systemd, &ours, &known);
        for (unit, state) in &expected {
            let told = systemd.get(unit);
            if told != Some(state) {
                let told = told.map_or("nothing".to_owned(), State::to_string);
                complaints.push(format!("{unit}: X-Expect={state}; systemd: {told}"));
            }
        }
        complaints
    };
    let differ = units_of(&unlike(&systemd));
    again(context, &mut systemd, &differ)?;
    let mut complaints = unlike(&systemd);
    let same = systemd.len() - known.len();
    context.say(&format!(
        "{} compared, {} of them different and listed, {} complaints",
        systemd.len(),
        known.len(),
        complaints.len()
    ));
    if same < COMPARED {
        complaints.push(format!("only {same} units are the same, not {COMPARED}"));
    }
    check(complaints.is_empty(), || complaints.join("\n"))
}
