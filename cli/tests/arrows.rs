//! The direction of the arrows between the rooms, read from `cargo metadata`.
//!
//! A package may depend on those named here and on no other package of ours. Dev-dependencies are free.
//! PID 1's whole dependency tree is checked too: nothing that brings an async runtime, D-Bus, TLS, HTTP or
//! netlink may stand in it.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Every package of ours, and what of ours it may depend on. README's "Rooms" shows the same.
const ARROWS: [(&str, &[&str]); 13] = [
    ("spec-unit", SPEC),
    ("spec-config", SPEC),
    ("spec-layout", SPEC),
    ("spec-recipe", SPEC),
    ("spec-api", SPEC),
    ("pid1", &["spec-unit", "spec-layout", "spec-config"]),
    ("archive", SPEC),
    ("client", SPEC),
    (
        "services",
        &[
            "spec-unit",
            "spec-config",
            "spec-layout",
            "spec-recipe",
            "spec-api",
            "client",
        ],
    ),
    (
        "cluster",
        &[
            "spec-unit",
            "spec-config",
            "spec-layout",
            "spec-recipe",
            "spec-api",
            "client",
            "archive",
        ],
    ),
    (
        "image",
        &[
            "spec-unit",
            "spec-config",
            "spec-layout",
            "spec-recipe",
            "spec-api",
            "archive",
        ],
    ),
    (
        "qemu-tests",
        &[
            "spec-unit",
            "spec-config",
            "spec-layout",
            "spec-recipe",
            "spec-api",
            "client",
            "image",
        ],
    ),
    (
        "cli",
        &[
            "spec-unit",
            "spec-config",
            "spec-layout",
            "spec-recipe",
            "spec-api",
            "client",
            "image",
            "qemu-tests",
        ],
    ),
];

const SPEC: &[&str] = &[
    "spec-unit",
    "spec-config",
    "spec-layout",
    "spec-recipe",
    "spec-api",
];

/// What PID 1 must not carry, as the beginnings of package names.
const NOT_IN_PID1: [&str; 16] = [
    "tokio",
    "async-",
    "futures",
    "zbus",
    "rustls",
    "ring",
    "openssl",
    "native-tls",
    "hyper",
    "http",
    "reqwest",
    "axum",
    "h2",
    "netlink",
    "rtnetlink",
    "neli",
];

/// What a crate of pure types and parsing must not carry: I/O, syscalls, async.
const NOT_IN_SPEC: [&str; 8] = [
    "tokio", "async-", "futures", "nix", "rustix", "libc", "hyper", "rustls",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(vec![
            "--locked".into(),
            "--offline".into(),
            "--filter-platform=x86_64-unknown-linux-musl".into(),
        ])
        .exec()
        .expect("cargo metadata --locked --offline answers in a checkout that has been built")
}

#[test]
fn no_arrow_that_the_house_does_not_have() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let ours: BTreeSet<String> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(arrows) = allowed.get(package.name.as_str()) else {
            wrong.push(format!(
                "{} is a room without a row in cli/tests/arrows.rs",
                package.name
            ));
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|one| one.kind != DependencyKind::Development)
        {
            if ours.contains(&dependency.name) && !arrows.contains(&dependency.name.as_str()) {
                wrong.push(format!(
                    "{} -> {} is not an arrow of the house",
                    package.name, dependency.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_is_a_room_that_exists() {
    let metadata = metadata();
    let ours: BTreeSet<String> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let rows: BTreeSet<String> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(rows, ours);
}

#[test]
fn pid_1_carries_no_runtime_no_tls_no_http_no_netlink() {
    forbid("pid1", &NOT_IN_PID1);
}

#[test]
fn spec_crates_are_pure() {
    for name in SPEC {
        forbid(name, &NOT_IN_SPEC);
    }
}

/// Fails if the tree of normal dependencies of `name` holds a package that begins with one of `prefixes`.
/// What only procedural macros and build scripts use does not reach the program.
fn forbid(name: &str, prefixes: &[&str]) {
    let metadata = metadata();
    let tree = tree(&metadata, name);
    assert!(
        !tree.is_empty(),
        "{name} has no dependency at all: the test does not look where it should"
    );
    let found: Vec<&String> = tree
        .iter()
        .filter(|package| prefixes.iter().any(|prefix| package.starts_with(prefix)))
        .collect();
    assert!(found.is_empty(), "{name} carries {found:?}");
}

fn tree(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("cargo metadata resolves");
    let nodes: BTreeMap<&PackageId, _> =
        resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let package = |id: &PackageId| &metadata[id];
    let start = metadata
        .workspace_packages()
        .into_iter()
        .find(|one| one.name.as_str() == name)
        .expect("a room");
    let mut names = BTreeSet::new();
    let mut todo = vec![start.id.clone()];
    let mut seen = BTreeSet::new();
    while let Some(id) = todo.pop() {
        for dependency in nodes
            .get(&id)
            .map(|node| node.deps.as_slice())
            .unwrap_or_default()
        {
            let normal = dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal);
            let found = package(&dependency.pkg);
            let macros = found.targets.iter().any(|target| target.is_proc_macro());
            if normal && !macros && seen.insert(dependency.pkg.clone()) {
                names.insert(found.name.to_string());
                todo.push(dependency.pkg.clone());
            }
        }
    }
    names
}

/// `fuzz` is a workspace of its own, whose lock nobody else's build touches.
#[test]
fn the_lock_of_the_fuzz_targets_knows_what_ours_depend_on() {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/Cargo.lock");
    let lock = std::fs::read_to_string(lock).expect("readable");
    let mut compared = 0;
    for package in metadata().workspace_packages() {
        let head = format!("name = \"{}\"\n", package.name);
        let Some(locked) = lock.split("[[package]]\n").find(|at| at.starts_with(&head)) else {
            continue;
        };
        let listed = locked.split("dependencies = [").nth(1).unwrap_or_default();
        let listed = listed.split('"').skip(1).step_by(2);
        let listed: BTreeSet<&str> = listed.filter_map(|name| name.split(' ').next()).collect();
        let wanted = package.dependencies.iter();
        // What only a feature brings that no target asks for is not in it.
        let wanted = wanted.filter(|on| on.kind != DependencyKind::Development && !on.optional);
        let wanted: BTreeSet<&str> = wanted.map(|on| on.name.as_str()).collect();
        let what = "run `cargo metadata` in fuzz/ and commit its Cargo.lock";
        assert_eq!(listed, wanted, "{}: {what}", package.name);
        compared += 1;
    }
    assert!(compared > 0, "no package of ours stands in it");
}
