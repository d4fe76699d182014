//! Units whose end ends the node, and jobs that take too long.

use spec_unit::control::ShutdownAction;
use spec_unit::directive::action::{Action, Haste};
use spec_unit::graph::JobKind;
use spec_unit::name::UnitType;
use spec_unit::unit::Unit;

use super::super::super::state::Phase;
use super::super::super::supervise::{Host as _, Timer};
use super::super::tests::Node;

const REBOOT: Action = Action {
    shutdown: ShutdownAction::Reboot,
    haste: Haste::Orderly,
};

/// A node with a.target, and broken.service as it is left by `with`.
fn node(with: impl FnOnce(&mut Unit)) -> Node {
    let mut node = Node::with(&[("a.target", &[])]);
    let mut unit = Unit::new("broken.service", UnitType::Service);
    unit.service.exec.start = vec![Default::default()];
    with(&mut unit);
    node.supervisor.graph.insert(unit).unwrap();
    node.supervisor.make_room();
    node.start("a.target");
    node
}

#[test]
fn a_failure_reboots_once_every_unit_has_stopped() {
    let mut node = node(|unit| {
        unit.actions.failure = Some(REBOOT);
        unit.actions.reboot_argument = Some("bootloader".into());
    });
    node.start("broken.service");
    node.supervisor.run_jobs();
    assert_eq!(node.phase("a.target"), Phase::Dead);
    assert_eq!(node.supervisor.is_over(), Some(ShutdownAction::Reboot));
    assert!(!node.supervisor.goes_at_once());
    let written = std::fs::read_to_string(node.folder.path().join("reboot-argument"));
    assert_eq!(written.unwrap(), "bootloader");
}

#[test]
fn force_stops_no_unit_and_a_unit_that_ends_well_is_no_failure() {
    let mut node = node(|unit| {
        unit.actions.failure = Some(Action {
            shutdown: ShutdownAction::Poweroff,
            haste: Haste::Immediate,
        });
        unit.actions.success = Some(Action {
            haste: Haste::Force,
            ..REBOOT
        });
    });
    node.supervisor.states[1].phase = Phase::FinalSigterm;
    node.supervisor
        .with_machine(1, |machine| machine.group_empty());
    assert_eq!(node.supervisor.is_over(), Some(ShutdownAction::Reboot));
    assert_eq!(node.phase("a.target"), Phase::Active);
    assert!(!node.supervisor.goes_at_once());
    // What fails meanwhile changes nothing.
    node.supervisor.act_on_end(1, Phase::Running, Phase::Failed);
    assert_eq!(node.supervisor.is_over(), Some(ShutdownAction::Reboot));
}

#[test]
fn too_many_starts_power_off_at_once() {
    let mut node = node(|unit| {
        unit.start_limit.burst = 1;
        unit.actions.start_limit = Some(Action {
            shutdown: ShutdownAction::Poweroff,
            haste: Haste::Immediate,
        });
    });
    node.start("broken.service");
    assert_eq!(node.supervisor.is_over(), None);
    node.start("broken.service");
    assert!(node.supervisor.states[1].start_limit_hit);
    assert!(node.supervisor.goes_at_once());
    assert_eq!(node.supervisor.is_over(), Some(ShutdownAction::Poweroff));
}

#[test]
fn a_job_that_takes_too_long_is_given_up_and_its_unit_left() {
    let mut node = node(|unit| {
        unit.actions.job_us = Some(5_000_000);
        unit.actions.job_running_us = Some(1_000_000);
        unit.actions.job_timeout = Some(REBOOT);
    });
    // As if it were starting.
    let supervisor = &mut node.supervisor;
    supervisor.states[1].phase = Phase::Start;
    supervisor.time_job(1);
    supervisor.jobs.submit_running(1);
    let queued = supervisor.host.timers.at((1, Timer::Job)).unwrap();
    supervisor.time_running_job(1);
    let running = supervisor.host.timers.at((1, Timer::Job)).unwrap();
    assert!(running < queued && running > supervisor.host.now_us());
    supervisor.job_timed_out(1);
    assert_eq!(
        supervisor.jobs.get(1).map(|job| job.kind),
        Some(JobKind::Stop)
    );
    assert!(supervisor.shutdown.is_some(), "JobTimeoutAction=");
    assert_eq!(node.phase("broken.service"), Phase::Start);
}

#[test]
fn a_job_that_is_done_has_no_clock() {
    let mut node = node(|unit| unit.actions.job_us = Some(5_000_000));
    node.start("broken.service");
    assert_eq!(node.phase("broken.service"), Phase::Failed);
    assert_eq!(node.supervisor.host.timers.next_us(), None);
}
