//! What a stop, a reload or an end of one unit does to those that name it.

use super::*;
use crate::notify::Message;

/// Services that are up without any process.
fn up(node: &mut Node, names: &[&str]) {
    for name in names {
        let id = node.supervisor.graph.id(name).unwrap();
        node.supervisor.states[id].phase = Phase::Running;
        node.supervisor.states[id].main = Some(i32::MAX);
    }
}

#[test]
fn a_stop_goes_on_to_those_it_is_propagated_to() {
    let mut node = Node::with(&[
        ("a.target", &[(Relation::PropagatesStopTo, "b.target")]),
        ("b.target", &[]),
        ("c.target", &[(Relation::StopPropagatedFrom, "a.target")]),
    ]);
    for name in ["a.target", "b.target", "c.target"] {
        node.start(name);
    }
    node.stop("b.target");
    assert_eq!(
        node.phase("a.target"),
        Phase::Active,
        "not the other way round"
    );
    node.start("b.target");
    // They stop with a restart too, and are not started again.
    node.supervisor
        .request("a.target", JobKind::Restart)
        .unwrap();
    node.supervisor.run_jobs();
    assert_eq!(
        ["a.target", "b.target", "c.target"].map(|name| node.phase(name)),
        [Phase::Active, Phase::Dead, Phase::Dead]
    );
}

#[test]
fn a_reload_does_not_stop_those_bound_to_the_service() {
    let mut node = Node::with(&[
        ("a.service", &[]),
        ("b.target", &[(Relation::BindsTo, "a.service")]),
    ]);
    up(&mut node, &["a.service"]);
    node.start("b.target");
    let say = |node: &mut Node, message: Message| {
        node.supervisor
            .with_machine(0, |machine| machine.notified(&message));
        node.supervisor.run_jobs();
        (node.phase("a.service"), node.phase("b.target"))
    };
    let reloading = Message {
        reloading: true,
        ..Message::default()
    };
    let ready = Message {
        ready: true,
        ..Message::default()
    };
    assert_eq!(
        say(&mut node, reloading),
        (Phase::ReloadNotify, Phase::Active)
    );
    assert_eq!(say(&mut node, ready), (Phase::Running, Phase::Active));
    assert_eq!(node.supervisor.jobs.iter().count(), 0);
}

#[test]
fn a_reload_goes_on_in_both_directions_to_those_that_are_up() {
    let mut node = Node::with(&[
        ("a.service", &[(Relation::PropagatesReloadTo, "b.service")]),
        ("b.service", &[]),
        (
            "c.service",
            &[(Relation::ReloadPropagatedFrom, "a.service")],
        ),
        (
            "d.service",
            &[(Relation::ReloadPropagatedFrom, "a.service")],
        ),
    ]);
    up(&mut node, &["a.service", "b.service", "c.service"]);
    for id in 0..4 {
        use spec_unit::directive::service::ServiceType;
        let mut unit = node.supervisor.graph.unit(id).unwrap().clone();
        unit.service.kind.given = Some(ServiceType::NotifyReload);
        // 0 is no signal: nothing is sent to anybody.
        unit.service.kind.reload_signal = 0;
        let name = unit.name.clone();
        node.supervisor.graph.forget(id);
        assert_eq!(node.supervisor.graph.insert(unit), Ok(id), "{name}");
    }
    node.supervisor.propagate_reload(0);
    assert_eq!(
        ["b.service", "c.service", "d.service"].map(|name| node.phase(name)),
        [Phase::ReloadSignal, Phase::ReloadSignal, Phase::Dead]
    );
}

#[test]
fn what_is_upheld_comes_back_whoever_stopped_it() {
    let mut node = Node::with(&[
        ("a.target", &[(Relation::Upholds, "b.target")]),
        ("b.target", &[]),
    ]);
    node.start("a.target");
    assert_eq!(node.phase("b.target"), Phase::Active);
    node.stop("b.target");
    assert_eq!(node.phase("b.target"), Phase::Active);
    node.stop("a.target");
    node.stop("b.target");
    assert_eq!(node.phase("b.target"), Phase::Dead, "nobody upholds it");
    node.start("a.target");
    node.supervisor.begin_shutdown(ShutdownAction::Reboot);
    node.supervisor.run_jobs();
    assert_eq!(node.phase("b.target"), Phase::Dead);
    assert!(node.supervisor.is_over().is_some());
}

#[test]
fn what_is_upheld_and_fails_again_and_again_waits_for_its_limit() {
    let mut node = Node::with(&[
        ("a.target", &[(Relation::Upholds, "broken.service")]),
        ("broken.service", &[]),
    ]);
    node.start("a.target");
    let state = &node.supervisor.states[1];
    assert!(state.start_limit_hit);
    assert_eq!(state.starts_us.len(), 5);
    let due = node.supervisor.host.timers.at((1, Timer::Upheld)).unwrap();
    assert!(due > node.supervisor.host.now_us() + 8_000_000);
    // Its time has come.
    node.supervisor.states[1].starts_us.clear();
    node.supervisor.upheld.insert(1);
    node.supervisor.run_jobs();
    assert_eq!(node.supervisor.states[1].starts_us.len(), 5);
}

#[test]
fn what_is_upheld_and_skipped_each_time_does_not_keep_the_loop() {
    let mut node = Node::with(&[("a.target", &[(Relation::Upholds, "b.target")])]);
    let mut unit = Unit::new("b.target", UnitType::Target);
    unit.conditions.push(path_exists(false));
    node.supervisor.graph.insert(unit).unwrap();
    node.supervisor.make_room();
    node.start("a.target");
    node.supervisor.upheld.insert(1);
    for _ in 0..50 {
        node.supervisor.upheld.insert(1);
        node.supervisor.run_jobs();
    }
    assert_eq!(node.supervisor.states[1].upheld_us.len(), 16);
    assert!(node.supervisor.host.timers.at((1, Timer::Upheld)).is_some());
}

#[test]
fn the_boot_is_over_when_nothing_is_left_to_do_and_a_shutdown_is_as_a_boot() {
    let mut node = Node::with(&[("a.target", &[])]);
    node.supervisor.request("a.target", JobKind::Start).unwrap();
    node.supervisor.watch_startup();
    assert!(node.supervisor.host.cgroups.starting, "a job is left");
    node.supervisor.run_jobs();
    node.supervisor.watch_startup();
    assert!(!node.supervisor.host.cgroups.starting);
    node.start("a.target");
    node.supervisor.watch_startup();
    assert!(!node.supervisor.host.cgroups.starting);
    node.supervisor.begin_shutdown(ShutdownAction::Reboot);
    node.supervisor.run_jobs();
    node.supervisor.watch_startup();
    assert!(node.supervisor.host.cgroups.starting);
}
