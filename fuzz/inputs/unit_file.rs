//! A unit file with its drop-ins, a second unit, and an environment file: parsed, loaded, ordered, planned, checked.
//!
//! The parts stand in one input, divided by lines that are [`DIVIDER`]. A unit file alone is an input too.

use spec_unit::check;
use spec_unit::directive::{mount_point, slice};
use spec_unit::finding::Finding;
use spec_unit::graph::Graph;
use spec_unit::load::Loader;
use spec_unit::name::{UnitName, UnitType, of_path};
use spec_unit::unit::{LoadState, Unit};

use super::node::{Files, Host, facts, plan};

/// What stands between two parts.
pub const DIVIDER: &[u8] = b"\n#---\n";

const SLICE: &str = "fuzz-one.slice";
const FOLDER: &str = "/usr/lib/systemd/system";
/// Where the parts stand: the unit, its drop-in, one for all services, another unit.
const PLACES: [&str; 4] = [
    "fuzz@.service",
    "fuzz@one.service.d/10.conf",
    "service.d/20.conf",
    "other.target",
];

pub fn run(bytes: &[u8]) {
    let mut parts = bytes.to_vec();
    let mut parts = divided(&mut parts);
    let environment = parts.split_off(parts.len().min(PLACES.len()));
    let environment = environment.first().copied().unwrap_or_default();
    let environment = String::from_utf8_lossy(environment).into_owned();
    let mut files = Files::default();
    for (place, part) in PLACES.iter().zip(&parts) {
        files.0.insert(format!("{FOLDER}/{place}"), part);
    }
    for (place, link) in [
        (
            "alias@.service",
            &b"->/usr/lib/systemd/system/fuzz@.service"[..],
        ),
        ("masked.service", b"->/dev/null"),
        ("fuzz@one.service.wants/other.target", b"->../other.target"),
        (
            "other.target.requires/fuzz@one.service",
            b"->../fuzz@.service",
        ),
    ] {
        files.0.insert(format!("/etc/systemd/system/{place}"), link);
    }
    // The same text as units of other types.
    let text = parts.first().copied().unwrap_or_default();
    let mount = mount_of(text);
    for name in [&*mount, SLICE] {
        files.0.insert(format!("{FOLDER}/{name}"), text);
    }
    let facts = facts();
    let loader = Loader::new(&files, &facts).expect("the folders can be read");
    let host = Host::new(&environment);
    for name in [
        "fuzz@one.service",
        "alias@a-b.service",
        "other.target",
        &mount,
        SLICE,
    ] {
        let loaded = loader
            .load(name)
            .expect("a unit that is asked for by a sound name loads");
        loaded
            .findings
            .iter()
            .for_each(|finding| stands(finding, &files));
        mirrored(&loaded.unit);
        plan(&loaded.unit, &host);
        if name == mount && loaded.unit.load == LoadState::Loaded {
            let call = mount_point::call(&loaded.unit);
            call.expect("a mount that is loaded can be called for");
        }
        if name == SLICE && loaded.unit.load == LoadState::Loaded {
            let _ = slice::group(&loaded.unit, &host);
        }
    }
    ordered(&loader);
    let _ = check::check(
        &files,
        &["fuzz@one.service".into()],
        &["fuzz@.service".into()],
    );
    let _ = check::install_links(&files, "fuzz@one.service");
    check::verify(&files, "fuzz@.service").expect("a unit file has a verdict");
}

/// What a mount with this text is to be called, so that its name is that of its Where=.
fn mount_of(text: &[u8]) -> String {
    let lines = text.split(|byte| *byte == b'\n');
    let mut paths = lines.filter_map(|line| line.strip_prefix(b"Where="));
    let path = paths.next().and_then(|path| std::str::from_utf8(path).ok());
    let name = path.and_then(|path| of_path(path.trim(), UnitType::Mount));
    let sound = name.filter(|name| UnitName::parse(name).is_ok());
    sound.unwrap_or_else(|| "run-fuzz.mount".into())
}

/// The parts of an input.
fn divided(bytes: &mut [u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), &*bytes);
    while let Some(at) = rest
        .windows(DIVIDER.len())
        .position(|window| window == DIVIDER)
    {
        let (part, after) = rest.split_at(at);
        parts.push(part);
        rest = &after[DIVIDER.len()..];
    }
    parts.push(rest);
    parts
}

/// A finding names a line that is there.
fn stands(finding: &Finding, files: &Files<'_>) {
    let Some(text) = files.0.get(&finding.at.file) else {
        return;
    };
    let lines = text.split(|byte| *byte == b'\n').count() as u32;
    assert!(finding.at.line <= lines, "{finding} is beyond line {lines}");
}

/// A unit comes back from PID 1's mirror as it was.
fn mirrored(unit: &Unit) {
    let text = serde_json::to_vec(unit).expect("a unit can be written");
    let again: Unit = serde_json::from_slice(&text).expect("a unit that was written can be read");
    assert_eq!(&again, unit, "a unit comes back as it was");
}

/// The unit starts, stops and restarts in a graph, and no cycle is left among what starts.
fn ordered(loader: &Loader<'_>) {
    let mut graph = Graph::default();
    let Ok((id, _)) = graph.load(loader, "fuzz@one.service") else {
        return;
    };
    for active in [false, true] {
        let active = move |_| active;
        if let Ok(transaction) = graph.start(id, &active) {
            let ids = transaction.jobs.keys().copied().collect();
            let (_, findings) = graph.break_cycles(&ids);
            drop(findings);
        }
        let _ = graph.stop([id], &active);
        let _ = graph.restart(id, &active);
    }
}
