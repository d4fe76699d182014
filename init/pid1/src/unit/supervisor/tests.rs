//! Several units together: what one's fate means for the others. Without processes: targets, and services that cannot
//! be made because the tree of control groups is none.

use spec_unit::directive::exec::Command;
use spec_unit::finding::Place;
use spec_unit::unit::Unit;

use super::*;

mod requests;

struct Node {
    supervisor: Supervisor,
    folder: tempfile::TempDir,
}

impl Node {
    fn with(units: &[(&str, &[(Relation, &str)])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let config = Config {
            root: folder.path().into(),
            cgroup_root: path("no-cgroups"),
            notify_socket: path("notify"),
            control_socket: path("control"),
            isolation_allowed: path("allowed"),
            shutdown_deadline: Duration::from_secs(90),
            target: "default.target".into(),
        };
        let mut supervisor = Supervisor::open(&config).unwrap();
        for (name, relations) in units {
            let kind = UnitName::parse(name).unwrap().kind;
            let mut unit = Unit::new(name, kind);
            unit.service.exec.start = vec![Command {
                program: "/bin/true".into(),
                arguments: vec!["true".into()],
                ..Command::default()
            }];
            for (relation, on) in *relations {
                unit.dependencies.imply(*relation, on, Place::default());
            }
            supervisor.graph.insert(unit).unwrap();
        }
        supervisor.make_room();
        Self { supervisor, folder }
    }

    fn start(&mut self, name: &str) {
        self.supervisor.request(name, JobKind::Start).unwrap();
        self.supervisor.run_jobs();
    }

    fn stop(&mut self, name: &str) {
        self.supervisor.request(name, JobKind::Stop).unwrap();
        self.supervisor.run_jobs();
    }

    fn phase(&self, name: &str) -> Phase {
        self.supervisor
            .phase(self.supervisor.graph.id(name).unwrap())
    }
}

#[test]
fn a_target_brings_its_parts_up_and_a_stop_takes_its_dependents_down() {
    let mut node = Node::with(&[
        (
            "a.target",
            &[
                (Relation::Requires, "b.target"),
                (Relation::After, "b.target"),
            ],
        ),
        ("b.target", &[]),
    ]);
    node.start("a.target");
    assert_eq!(
        [node.phase("a.target"), node.phase("b.target")],
        [Phase::Active, Phase::Active]
    );
    node.stop("b.target");
    assert_eq!(
        [node.phase("a.target"), node.phase("b.target")],
        [Phase::Dead, Phase::Dead]
    );
}

#[test]
fn a_service_that_cannot_be_made_fails_its_dependents_and_starts_its_rescue() {
    let mut node = Node::with(&[
        (
            "a.target",
            &[
                (Relation::Requires, "broken.service"),
                (Relation::After, "broken.service"),
            ],
        ),
        ("broken.service", &[(Relation::OnFailure, "rescue.target")]),
        ("rescue.target", &[]),
    ]);
    node.start("a.target");
    assert_eq!(node.phase("broken.service"), Phase::Failed);
    assert_eq!(node.phase("rescue.target"), Phase::Active);
    assert_eq!(node.phase("a.target"), Phase::Dead);
    let status = node.supervisor.status(0).unwrap();
    assert_eq!(
        (status.result.as_str(), status.reason.as_deref()),
        ("dependency", Some("broken.service did not start"))
    );
    let broken = node.supervisor.status(1).unwrap();
    assert!(broken.reason.unwrap().contains("control group"));
}

#[test]
fn a_unit_bound_to_another_follows_it_down() {
    let mut node = Node::with(&[
        ("a.target", &[(Relation::BindsTo, "b.target")]),
        ("b.target", &[]),
    ]);
    node.start("a.target");
    let b = node.supervisor.graph.id("b.target").unwrap();
    node.supervisor.with_machine(b, |machine| machine.stop());
    node.supervisor.run_jobs();
    assert_eq!(node.phase("a.target"), Phase::Dead);
}

#[test]
fn what_nobody_needs_stops_if_it_asks_to() {
    let mut node = Node::with(&[("a.target", &[(Relation::Wants, "b.target")])]);
    let mut unit = Unit::new("b.target", UnitType::Target);
    unit.dependencies.stop_when_unneeded = true;
    node.supervisor.graph.insert(unit).unwrap();
    node.supervisor.make_room();
    node.start("a.target");
    assert_eq!(node.phase("b.target"), Phase::Active);
    node.stop("a.target");
    assert_eq!(node.phase("b.target"), Phase::Dead);
}

#[test]
fn a_shutdown_stops_all_and_takes_no_more_starts() {
    let mut node = Node::with(&[
        ("a.target", &[(Relation::After, "b.target")]),
        ("b.target", &[]),
    ]);
    node.start("a.target");
    node.start("b.target");
    assert_eq!(node.supervisor.is_over(), None);
    node.start("reboot.target");
    assert!(
        node.supervisor
            .request("a.target", JobKind::Start)
            .unwrap_err()
            .contains("shutting down")
    );
    assert_eq!(
        [node.phase("a.target"), node.phase("b.target")],
        [Phase::Dead, Phase::Dead]
    );
    assert_eq!(node.supervisor.is_over(), Some(ShutdownAction::Reboot));
}

#[test]
fn a_unit_that_does_not_stop_is_named_and_the_shutdown_ends_all_the_same() {
    let mut node = Node::with(&[("slow.service", &[])]);
    if let Some(state) = node.supervisor.states.get_mut(0) {
        (state.phase, state.main) = (Phase::Running, Some(i32::MAX));
    }
    node.supervisor.begin_shutdown(ShutdownAction::Poweroff);
    node.supervisor.run_jobs();
    assert_eq!(
        node.supervisor.who_delays(),
        ["slow.service (stop-sigterm)"]
    );
    let late = node.supervisor.host.now_us() + 91_000_000;
    node.supervisor.watch_shutdown(late);
    assert_eq!(node.supervisor.is_over(), None, "the killed get a moment");
    node.supervisor.shutdown.as_mut().unwrap().deadline_us = 0;
    assert_eq!(node.supervisor.is_over(), Some(ShutdownAction::Poweroff));
}

#[test]
fn a_failed_condition_skips_and_its_dependents_start() {
    let mut node = Node::with(&[(
        "b.target",
        &[
            (Relation::Requires, "a.target"),
            (Relation::After, "a.target"),
        ],
    )]);
    let mut unit = Unit::new("a.target", UnitType::Target);
    unit.conditions
        .push(spec_unit::directive::condition::Condition {
            check: spec_unit::directive::condition::Check::PathExists,
            argument: "/missing".into(),
            negated: false,
            trigger: false,
            assert: false,
            at: Place::default(),
        });
    node.supervisor.graph.insert(unit).unwrap();
    node.supervisor.make_room();
    node.start("b.target");
    assert_eq!(
        [node.phase("a.target"), node.phase("b.target")],
        [Phase::Dead, Phase::Active]
    );
    assert_eq!(node.supervisor.status(1).unwrap().result, "condition");
}
