//! What a node makes of the services of Debian's server packages, as they are in the archive today.
//!
//! Nothing of them is in the repository but their names: `packages.txt`.

mod packages_plans;

use image::unit_files::{self, PackageUnits};
use qemu_tests::runner::{self, Context, Outcome, Stop, Test, check};
use spec_unit::{
    check::{self as units, Verdict},
    finding::{Finding, Place},
    load::{EntryKind, FOLDERS, UnitSource},
    parse::{Assignment, parse},
};
use std::{
    collections::BTreeMap, panic::AssertUnwindSafe, panic::catch_unwind, path::Path,
    process::ExitCode,
};

const TESTS: &[Test] = &[Test::new(
    "debian_s_services_are_honoured",
    2,
    1800,
    debian_s_services_are_honoured,
)];

fn main() -> ExitCode {
    runner::main("packages", TESTS)
}

/// Packages, one a line.
const PACKAGES: &str = include_str!("packages.txt");
/// Packages that bring a service, at least.
const PACKAGES_MIN: usize = 60;
/// Of a hundred services that need nothing that a node lacks by design, so many are honoured.
const HONOURED_MIN_PERCENT: usize = 90;

/// What became of a service.
struct Row {
    package: String,
    source: String,
    unit: String,
    verdict: Verdict,
    /// What it needs that starts it: a socket, a timer, a watched path, a name on the bus.
    needs: Option<String>,
    /// Of all findings, the first.
    finding: String,
}

impl Row {
    /// Whether it is counted.
    fn counts(&self) -> bool {
        self.source != "systemd" && self.needs.is_none() && self.verdict != Verdict::Masked
    }
}

fn debian_s_services_are_honoured(context: &Context) -> Outcome {
    let names: Vec<&str> = PACKAGES
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let packages = fetched(&names)?;
    context.say(&format!("{} packages are here", packages.len()));
    let rows = packages.iter().try_fold(Vec::new(), |mut rows, package| {
        rows.extend(services(package)?);
        Ok::<_, Stop>(rows)
    })?;
    rows.iter().for_each(tell);
    sum_up(&rows)
}

/// The packages from a mirror; without one the test is skipped.
fn fetched(names: &[&str]) -> Result<Vec<PackageUnits>, Stop> {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/base.toml");
    let mirrored = image::lock::read_recipe(&recipe)
        .and_then(|recipe| image::mirror::Mirrors::of(&recipe))
        .and_then(|mirrors| mirrors.for_suite("trixie").map(drop));
    mirrored.map_err(|error| Stop::Skipped(error.to_string()))?;
    unit_files::of_packages(&recipe, names, &image::Quiet).map_err(|error| match error {
        image::Error::Network(_) => Stop::Skipped(error.to_string()),
        _ => Stop::Failed(error.to_string()),
    })
}

/// The services of a package. An alias is no service of its own; a link to /dev/null is a mask.
fn services(package: &PackageUnits) -> Result<Vec<Row>, Stop> {
    let failed = |message| Stop::Failed(format!("{}: {message}", package.package));
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        found.extend(
            package
                .list(folder)
                .map_err(failed)?
                .into_iter()
                .map(|(name, kind)| {
                    let path = format!("{folder}/{name}");
                    (name, (path, kind))
                }),
        );
    }
    let mut rows = Vec::new();
    for (unit, (path, kind)) in &found {
        let Some(stem) = unit.strip_suffix(".service") else {
            continue;
        };
        let file = match kind {
            EntryKind::Folder => continue,
            EntryKind::Link if package.link(path).map_err(failed)? != "/dev/null" => continue,
            EntryKind::Link => Vec::new(),
            EntryKind::File => package.read(path).map_err(failed)?.unwrap_or_default(),
        };
        let (verdict, findings) = verified(package, unit).map_err(failed)?;
        rows.push(Row {
            package: package.package.clone(),
            source: package.source.clone(),
            unit: unit.clone(),
            verdict,
            needs: needs(stem, &parse(unit, &file).assignments, &|name| {
                found.contains_key(name)
            }),
            finding: findings.first().map(|f| f.to_string()).unwrap_or_default(),
        });
    }
    Ok(rows)
}

/// The verdict on a service and why. One of whose commands no plan can be made is not honoured, whatever is said of it.
fn verified(package: &PackageUnits, unit: &str) -> Result<(Verdict, Vec<Finding>), String> {
    let verify = || {
        let (verdict, findings) = units::verify(package, unit)?;
        if verdict == Verdict::Honoured
            && let Err(message) = packages_plans::make(package, unit)
        {
            let finding = Finding::error(Place::new(unit, 0), message);
            return Ok((Verdict::Refused, vec![finding]));
        }
        Ok((verdict, findings))
    };
    catch_unwind(AssertUnwindSafe(verify))
        .unwrap_or_else(|_| Err(format!("{unit} makes its reader panic")))
}

/// What starts a service in the place of a dependency: a unit of its name, `Sockets=`, the bus.
fn needs(stem: &str, said: &[Assignment], stands: &dyn Fn(&str) -> bool) -> Option<String> {
    // `x@.service` is what `x.socket` starts for each connection.
    let stems = [stem, stem.trim_end_matches('@')];
    let named = stems
        .iter()
        .flat_map(|stem| ["socket", "timer", "path"].map(|kind| format!("{stem}.{kind}")))
        .find(|name| stands(name));
    let said = said.iter().filter(|said| said.section == "Service");
    let line = said
        .map(|said| (said.name.as_str(), said.value.as_str()))
        .find(|(name, value)| *name == "Sockets" || (*name == "Type" && *value == "dbus"))
        .map(|(name, value)| format!("{name}={value}"));
    named.or(line)
}

fn tell(row: &Row) {
    let aside = match (&row.needs, row.source.as_str()) {
        (_, "systemd") => "[systemd's own]".to_owned(),
        (Some(needs), _) => format!("[needs {needs}]"),
        _ => String::new(),
    };
    let line = format!(
        "{:24} {:44} {:8} {aside} {}",
        row.package,
        row.unit,
        row.verdict.word(),
        row.finding
    );
    println!("      {}", line.trim_end());
}

/// Counts, and fails if too few are honoured.
fn sum_up(rows: &[Row]) -> Outcome {
    let count = |chosen: &dyn Fn(&&Row) -> bool| rows.iter().filter(chosen).count();
    let verdicts = |chosen: &dyn Fn(&&Row) -> bool| {
        use Verdict::{Honoured, Masked, Refused, Warned};
        [Honoured, Warned, Refused, Masked]
            .map(|verdict| {
                let of = count(&|row| chosen(row) && row.verdict == verdict);
                format!("{of} {}", verdict.word())
            })
            .join(", ")
    };
    let mut packages: Vec<&str> = rows.iter().map(|row| row.package.as_str()).collect();
    packages.dedup();
    println!(
        "      {} packages, {} services: {}",
        packages.len(),
        rows.len(),
        verdicts(&|_| true)
    );
    let counted = count(&|row| row.counts());
    let honoured = count(&|row| row.counts() && row.verdict == Verdict::Honoured);
    println!(
        "      {counted} of them are not systemd's and need no socket, timer, path or bus: {}; {:.1} % honoured",
        verdicts(&|row| row.counts()),
        100.0 * honoured as f64 / counted.max(1) as f64
    );
    check(packages.len() >= PACKAGES_MIN, || {
        format!(
            "only {} packages bring a service; {PACKAGES_MIN} are meant",
            packages.len()
        )
    })?;
    check(honoured * 100 >= counted * HONOURED_MIN_PERCENT, || {
        format!("{honoured} of {counted} are honoured, less than {HONOURED_MIN_PERCENT} %")
    })
}
