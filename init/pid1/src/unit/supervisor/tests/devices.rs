//! Device units, by what the device service tells.

use spec_unit::device::{Device, Telling};

use super::*;

fn disk() -> Device {
    Device {
        path: "/devices/virtio1/block/vda".into(),
        names: vec!["/dev/vda".into()],
    }
}

fn node() -> Node {
    let needs: &[(Relation, &str)] = &[
        (Relation::BindsTo, "dev-vda.device"),
        (Relation::After, "dev-vda.device"),
    ];
    let stopped: &[(Relation, &str)] = &[(Relation::StopPropagatedFrom, "dev-vda.device")];
    Node::with(&[
        ("a.target", needs),
        ("b.target", stopped),
        ("dev-vda.device", &[]),
    ])
}

fn tell(node: &mut Node, telling: Telling, devices: Vec<Device>) {
    node.supervisor.hear_devices(telling, devices, &[]).unwrap();
    node.supervisor.run_jobs();
}

#[test]
fn a_unit_waits_for_its_device_and_goes_with_it() {
    let mut node = node();
    node.start("a.target");
    node.start("b.target");
    assert_eq!(node.phase("a.target"), Phase::Dead);
    tell(&mut node, Telling::Begin, vec![disk()]);
    tell(&mut node, Telling::End, vec![]);
    assert_eq!(node.phase("dev-vda.device"), Phase::Plugged);
    assert_eq!(node.phase("a.target"), Phase::Active);
    // The device service starts again, and the disk is no more.
    tell(&mut node, Telling::Begin, vec![]);
    assert_eq!(node.phase("a.target"), Phase::Active);
    tell(&mut node, Telling::End, vec![]);
    for name in ["dev-vda.device", "a.target", "b.target"] {
        assert_eq!(node.phase(name), Phase::Dead, "{name}");
    }
}

#[test]
fn a_device_that_does_not_come_fails_who_waits_for_it() {
    let mut node = node();
    node.start("a.target");
    let id = node.supervisor.graph.id("dev-vda.device").unwrap();
    let now = node.supervisor.host.now_us();
    let at = node.supervisor.host.timers.at((id, Timer::Job)).unwrap();
    assert!((80_000_000..=90_000_000).contains(&at.saturating_sub(now)));
    node.supervisor.job_timed_out(id);
    node.supervisor.run_jobs();
    assert!(node.supervisor.jobs.iter().next().is_none());
    let waited = node.supervisor.graph.id("a.target").unwrap();
    assert_eq!(node.supervisor.states[waited].result, Outcome::Dependency);
}

#[test]
fn a_unit_that_is_loaded_late_finds_its_device() {
    let mut node = Node::with(&[]);
    tell(&mut node, Telling::Changes, vec![disk()]);
    node.supervisor.load("dev-vda.device").unwrap();
    assert_eq!(node.phase("dev-vda.device"), Phase::Plugged);
    node.supervisor.begin_shutdown(ShutdownAction::Reboot);
    assert_eq!(node.supervisor.is_over(), Some(ShutdownAction::Reboot));
}
