//! Transactions and cycles over small trees of units.

use super::*;
use crate::load::{Loader, tests::Tree};
use crate::specifier::Facts;

/// Units by name, each with the lines of its \[Unit\] section; all without default dependencies.
fn graph(units: &[(&str, &str)], root: &str) -> Graph {
    let text = |name: &str, lines: &str| {
        let service = if name.ends_with(".service") {
            "[Service]\nExecStart=/bin/true\n"
        } else {
            ""
        };
        format!("[Unit]\nDefaultDependencies=no\n{lines}\n{service}")
    };
    let files: Vec<(String, String)> = units
        .iter()
        .map(|(name, lines)| (name.to_string(), text(name, lines)))
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let (tree, facts) = (Tree::of(&files), Facts::default());
    let loader = Loader::new(&tree, &facts).unwrap();
    let mut graph = Graph::default();
    graph.load(&loader, root).unwrap();
    for (name, _) in units {
        graph.load(&loader, name).unwrap();
    }
    graph
}

/// Jobs by name, without those of the slices that the services are in.
fn jobs(graph: &Graph, transaction: &Transaction) -> Vec<(String, JobKind)> {
    let mut jobs: Vec<_> = transaction
        .jobs
        .iter()
        .map(|(id, kind)| (graph.name(*id), *kind))
        .filter(|(name, _)| !name.ends_with(".slice"))
        .collect();
    jobs.sort_by(|left, right| left.0.cmp(&right.0));
    jobs
}

fn named(pairs: &[(&str, JobKind)]) -> Vec<(String, JobKind)> {
    pairs
        .iter()
        .map(|(name, kind)| (name.to_string(), *kind))
        .collect()
}

const NONE: &dyn Fn(UnitId) -> bool = &|_| false;
const ALL: &dyn Fn(UnitId) -> bool = &|_| true;

#[test]
fn starting_a_unit_brings_in_what_it_requires_and_wants() {
    let units = [
        (
            "a.target",
            "Requires=b.service\nWants=c.service missing.service",
        ),
        ("b.service", "Wants=d.service"),
        ("c.service", ""),
        ("d.service", ""),
    ];
    let graph = graph(&units, "a.target");
    let transaction = graph.start(0, NONE).unwrap();
    let expected =
        ["a.target", "b.service", "c.service", "d.service"].map(|name| (name, JobKind::Start));
    assert_eq!(jobs(&graph, &transaction), named(&expected));
    assert!(transaction.skipped[0].starts_with("missing.service: not-found"));
}

#[test]
fn a_missing_requirement_fails_the_unit_and_only_its_branch() {
    let units = [
        ("a.target", "Wants=b.service c.service"),
        ("b.service", "Wants=d.service\nRequires=gone.service"),
        ("c.service", ""),
        ("d.service", ""),
    ];
    let graph = graph(&units, "a.target");
    let transaction = graph.start(0, NONE).unwrap();
    assert_eq!(
        jobs(&graph, &transaction),
        named(&[("a.target", JobKind::Start), ("c.service", JobKind::Start)])
    );
    let error = graph
        .start(graph.id("b.service").unwrap(), NONE)
        .unwrap_err();
    assert!(
        error.contains("gone.service") && error.contains("b.service:4"),
        "{error}"
    );
}

#[test]
fn a_requisite_must_run_already() {
    let graph = graph(
        &[("a.service", "Requisite=b.service"), ("b.service", "")],
        "a.service",
    );
    assert!(graph.start(0, NONE).is_err());
    assert!(graph.start(0, &|id| id == 1).is_ok());
}

#[test]
fn conflicts_stop_what_runs() {
    let units = [
        ("a.service", "Conflicts=b.service"),
        ("b.service", ""),
        ("c.service", "Requires=b.service"),
    ];
    let graph = graph(&units, "a.service");
    let transaction = graph.start(0, &|id| id != 0).unwrap();
    let expected = [
        ("a.service", JobKind::Start),
        ("b.service", JobKind::Stop),
        ("c.service", JobKind::Stop),
    ];
    assert_eq!(jobs(&graph, &transaction), named(&expected));
    let back = graph
        .start(graph.id("b.service").unwrap(), &|id| id == 0)
        .unwrap();
    assert_eq!(
        back.jobs.get(&0),
        Some(&JobKind::Stop),
        "a conflict holds both ways"
    );
}

#[test]
fn units_in_conflict_do_not_start_together() {
    let wanted = [
        ("a.target", "Wants=b.service c.service"),
        ("b.service", "Conflicts=c.service"),
        ("c.service", ""),
    ];
    let graph_wanted = graph(&wanted, "a.target");
    let transaction = graph_wanted.start(0, NONE).unwrap();
    assert_eq!(jobs(&graph_wanted, &transaction).len(), 2);
    let required = [
        ("a.target", "Requires=b.service c.service"),
        ("b.service", "Conflicts=c.service"),
        ("c.service", ""),
    ];
    assert!(
        graph(&required, "a.target")
            .start(0, NONE)
            .unwrap_err()
            .contains("conflict")
    );
}

#[test]
fn stopping_and_restarting_reach_the_dependents() {
    let units = [
        ("a.service", ""),
        ("b.service", "Requires=a.service"),
        ("c.service", "PartOf=b.service"),
        ("d.service", "Wants=a.service"),
    ];
    let graph = graph(&units, "a.service");
    let stop = graph.stop([0], ALL);
    let three = ["a.service", "b.service", "c.service"];
    assert_eq!(
        jobs(&graph, &stop),
        named(&three.map(|name| (name, JobKind::Stop)))
    );
    let restart = graph.restart(0, ALL).unwrap();
    assert_eq!(
        jobs(&graph, &restart),
        named(&three.map(|name| (name, JobKind::Restart)))
    );
}

#[test]
fn order_turns_round_for_stops() {
    let graph = graph(
        &[("a.service", "After=b.service"), ("b.service", "")],
        "a.service",
    );
    let b = graph.id("b.service").unwrap();
    assert!(graph.waits(0, JobKind::Start, b, JobKind::Start));
    assert!(graph.waits(b, JobKind::Stop, 0, JobKind::Stop));
    assert!(
        graph.waits(b, JobKind::Start, 0, JobKind::Stop),
        "a start waits for a stop"
    );
    assert!(!graph.waits(0, JobKind::Stop, b, JobKind::Start));
}

#[test]
fn a_target_is_reached_after_its_parts() {
    let files = [
        ("multi-user.target", "[Unit]\nWants=a.service b.service\n"),
        ("a.service", "[Service]\nExecStart=/bin/a\n"),
        (
            "b.service",
            "[Unit]\nAfter=multi-user.target\n[Service]\nExecStart=/bin/b\n",
        ),
        ("sysinit.target", "[Unit]\nDefaultDependencies=no\n"),
    ];
    let (tree, facts) = (Tree::of(&files), Facts::default());
    let mut graph = Graph::default();
    let (target, findings) = graph
        .load(&Loader::new(&tree, &facts).unwrap(), "multi-user.target")
        .unwrap();
    assert_eq!(findings, []);
    let (a, b) = (
        graph.id("a.service").unwrap(),
        graph.id("b.service").unwrap(),
    );
    assert!(graph.waits(target, JobKind::Start, a, JobKind::Start));
    assert!(graph.waits(b, JobKind::Start, target, JobKind::Start));
    assert!(!graph.waits(target, JobKind::Start, b, JobKind::Start));
}

#[test]
fn a_cycle_is_told_with_files_and_lines_and_broken_once() {
    let units = [
        ("a.service", "After=b.service"),
        ("b.service", "After=c.service"),
        ("c.service", "Before=x.service\nAfter=a.service"),
    ];
    let graph = graph(&units, "a.service");
    let ids: BTreeSet<UnitId> = graph.units().map(|(id, _)| id).collect();
    let (broken, findings) = graph.break_cycles(&ids);
    assert_eq!((broken.len(), findings.len()), (1, 1));
    let message = &findings[0].message;
    for step in [
        "a.service After=b.service (/usr/lib/systemd/system/a.service:3)",
        "c.service After=a.service (/usr/lib/systemd/system/c.service:4)",
    ] {
        assert!(message.contains(step), "{message}");
    }
    assert_eq!(
        graph.break_cycles(&ids),
        (broken, findings),
        "the same each time"
    );
}

#[test]
fn two_cycles_are_both_broken_and_an_implied_step_goes_first() {
    let files = [
        ("t.target", "[Unit]\nWants=a.service\nBefore=b.service\n"),
        (
            "a.service",
            "[Unit]\nAfter=b.service\nWants=b.service\n[Service]\nExecStart=/bin/a\n",
        ),
        (
            "b.service",
            "[Unit]\nAfter=c.service\nBefore=c.service\n[Service]\nExecStart=/bin/b\n",
        ),
        ("c.service", "[Service]\nExecStart=/bin/b\n"),
        ("sysinit.target", "[Unit]\n"),
    ];
    let (tree, facts) = (Tree::of(&files), Facts::default());
    let loader = Loader::new(&tree, &facts).unwrap();
    let mut graph = Graph::default();
    graph.load(&loader, "t.target").unwrap();
    graph.load(&loader, "c.service").unwrap();
    let ids = graph.units().map(|(id, _)| id).collect();
    let (broken, findings) = graph.break_cycles(&ids);
    assert_eq!((broken.len(), findings.len()), (2, 2));
    assert!(findings.iter().any(|finding| {
        finding
            .message
            .contains("left out: t.target brings in a.service")
    }));
}

#[test]
fn a_deep_chain_is_no_trouble() {
    let lines: Vec<(String, String)> = (0..1500)
        .map(|n| {
            (
                format!("u{n}.service"),
                format!("Requires=u{0}.service\nAfter=u{0}.service", n + 1),
            )
        })
        .collect();
    let mut units: Vec<(&str, &str)> = lines
        .iter()
        .map(|(name, lines)| (name.as_str(), lines.as_str()))
        .collect();
    units.push(("u1500.service", ""));
    let graph = graph(&units, "u0.service");
    let transaction = graph.start(0, NONE).unwrap();
    assert_eq!(jobs(&graph, &transaction).len(), 1501);
    let all: BTreeSet<UnitId> = graph.units().map(|(id, _)| id).collect();
    assert_eq!(graph.break_cycles(&all).0.len(), 0);
}

#[test]
fn a_load_that_fails_half_way_changes_nothing() {
    let mut wants = String::from("[Unit]\nDefaultDependencies=no\n");
    for number in 0..MAX_UNITS {
        wants.push_str(&format!("Wants=u{number}.target\n"));
    }
    let files = [
        ("a.target", "[Unit]\nDefaultDependencies=no\n"),
        ("many.target", wants.as_str()),
    ];
    let (tree, facts) = (Tree::of(&files), Facts::default());
    let loader = Loader::new(&tree, &facts).unwrap();
    let mut graph = Graph::default();
    graph.load(&loader, "a.target").unwrap();
    let error = graph.load(&loader, "many.target").unwrap_err();
    assert!(error.contains("more than"), "{error}");
    assert_eq!(graph.units().count(), 1);
    assert_eq!(graph.id("many.target"), None);
}

#[test]
fn a_freed_place_counts_as_free_and_what_comes_there_brings_its_own_in() {
    let (units, root) = (
        [("a.target", "Wants=b.target"), ("b.target", "")],
        "a.target",
    );
    let mut graph = graph(&units, root);
    for number in 2..MAX_UNITS {
        let name = format!("u{number}.target");
        graph
            .insert(Unit::new(&name, crate::name::UnitType::Target))
            .unwrap();
    }
    for name in ["a.target", "b.target"] {
        graph.forget(graph.id(name).unwrap());
    }
    let files = [
        (
            "a.target",
            "[Unit]\nDefaultDependencies=no\nWants=b.target\n",
        ),
        ("b.target", "[Unit]\nDefaultDependencies=no\n"),
    ];
    let (tree, facts) = (Tree::of(&files), Facts::default());
    let loader = Loader::new(&tree, &facts).unwrap();
    let (a, _) = graph.load(&loader, "a.target").unwrap();
    assert!(a < 2 && graph.id("b.target").is_some_and(|b| b < 2));
}

#[test]
fn a_unit_that_could_not_be_read_is_read_again_in_its_place() {
    let mut graph = graph(&[("a.target", "Wants=b.service")], "a.target");
    let b = graph.id("b.service").unwrap();
    let files = [
        (
            "b.service",
            "[Unit]\nWants=c.target\n[Service]\nExecStart=/bin/b\n",
        ),
        ("c.target", "[Unit]\n"),
    ];
    let (tree, facts) = (Tree::of(&files), Facts::default());
    let loader = Loader::new(&tree, &facts).unwrap();
    let (again, _) = graph.reload(&loader, b).unwrap();
    assert_eq!(again, b);
    assert_eq!(graph.unit(b).unwrap().load, crate::unit::LoadState::Loaded);
    assert!(graph.id("c.target").is_some());
    assert_eq!(
        graph.dependents(b, Relation::Wants).collect::<Vec<_>>(),
        [0]
    );
}

#[test]
fn what_could_not_be_read_and_nobody_names_is_forgotten() {
    let mut graph = graph(
        &[("a.target", "Wants=gone.service"), ("b.target", "")],
        "a.target",
    );
    let (tree, facts) = (Tree::default(), Facts::default());
    let loader = Loader::new(&tree, &facts).unwrap();
    let (odd, _) = graph.load(&loader, "odd.service").unwrap();
    assert_eq!(graph.forget_unneeded(|_| false), [], "something holds it");
    assert_eq!(graph.forget_unneeded(|_| true), [odd]);
    let names: Vec<_> = graph.units().map(|(_, unit)| unit.name.as_str()).collect();
    assert_eq!(names, ["a.target", "gone.service", "b.target"]);
}

#[test]
fn in_a_crowded_graph_whatever_nobody_needs_is_forgotten() {
    let mut graph = graph(
        &[("a.target", "Wants=b.target"), ("b.target", "")],
        "a.target",
    );
    for number in 2..MAX_UNITS / 2 {
        let name = format!("u{number}.target");
        graph
            .insert(Unit::new(&name, crate::name::UnitType::Target))
            .unwrap();
    }
    graph.forget_unneeded(|id| id != 0);
    let names: Vec<_> = graph.units().map(|(_, unit)| unit.name.as_str()).collect();
    assert_eq!(names, ["a.target", "b.target"]);
}

#[test]
fn a_service_starts_after_its_slice_and_stops_with_it() {
    let units = [
        ("a.target", "Wants=in.service other.service"),
        ("in.service", "\n[Service]\nSlice=x-y.slice"),
        ("other.service", ""),
    ];
    let graph = graph(&units, "a.target");
    let id = |name| graph.id(name).unwrap();
    let transaction = graph.start(id("in.service"), NONE).unwrap();
    let started: BTreeSet<String> = transaction.jobs.keys().map(|id| graph.name(*id)).collect();
    let expected = ["-.slice", "in.service", "x-y.slice", "x.slice"];
    assert_eq!(started, expected.map(String::from).into());
    let (start, inner, outer) = (JobKind::Start, id("x-y.slice"), id("x.slice"));
    assert!(graph.waits(id("in.service"), start, inner, start));
    assert!(graph.waits(inner, start, outer, start));
    let stopped = graph.stop([outer], ALL);
    let stopped: BTreeSet<String> = stopped.jobs.keys().map(|id| graph.name(*id)).collect();
    let expected = ["in.service", "x-y.slice", "x.slice"];
    assert_eq!(stopped, expected.map(String::from).into());
    let stop = JobKind::Stop;
    assert!(
        graph.waits(outer, stop, id("in.service"), stop)
            || graph.waits(inner, stop, id("in.service"), stop)
    );
}
