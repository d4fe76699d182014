//! Several units together: what one's fate means for the others. Without processes: targets, and services that cannot
//! be made because the tree of control groups is none.

use spec_unit::control::ExitStatus;
use spec_unit::directive::condition::{Check, Condition};
use spec_unit::directive::exec::Command;
use spec_unit::directive::notify::NotifyAccess;
use spec_unit::finding::Place;
use spec_unit::unit::Unit;

use super::*;

mod devices;
mod heard;
mod mounts;
mod pressure;
mod propagation;
mod requests;
mod slices;
mod stored;

pub(super) struct Node {
    pub(super) supervisor: Supervisor,
    pub(super) folder: tempfile::TempDir,
}

impl Node {
    pub(super) fn with(units: &[(&str, &[(Relation, &str)])]) -> Self {
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
            reboot_argument: path("reboot-argument"),
            faults: false,
            proc: path("proc"),
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

    pub(super) fn start(&mut self, name: &str) {
        self.supervisor.request(name, JobKind::Start).unwrap();
        self.supervisor.run_jobs();
    }

    fn stop(&mut self, name: &str) {
        self.supervisor.request(name, JobKind::Stop).unwrap();
        self.supervisor.run_jobs();
    }

    pub(super) fn phase(&self, name: &str) -> Phase {
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
        ("success", Some("broken.service did not start"))
    );
    let broken = node.supervisor.status(1).unwrap();
    assert!(broken.reason.unwrap().contains("control group"));
}

#[test]
fn a_service_that_ends_well_in_one_step_starts_what_its_success_asks_for() {
    let mut node = Node::with(&[
        ("a.service", &[(Relation::OnSuccess, "b.target")]),
        ("b.target", &[]),
    ]);
    let a = node.supervisor.graph.id("a.service").unwrap();
    let state = node.supervisor.states.get_mut(a).unwrap();
    (state.phase, state.main) = (Phase::Running, Some(7));
    node.supervisor
        .with_machine(a, |machine| machine.main_ended(ExitStatus::Exited(0)));
    node.supervisor.run_jobs();
    assert_eq!(node.phase("a.service"), Phase::Dead);
    assert_eq!(node.phase("b.target"), Phase::Active);
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
    unit.conditions.push(path_exists(false));
    node.supervisor.graph.insert(unit).unwrap();
    node.supervisor.make_room();
    node.start("b.target");
    assert_eq!(
        [node.phase("a.target"), node.phase("b.target")],
        [Phase::Dead, Phase::Active]
    );
    let status = node.supervisor.status(1).unwrap();
    assert_eq!(status.result, "success", "what never ran has no result");
    assert!(status.reason.is_some());
}

/// A condition, or an assertion, that does not hold: there is no such path.
fn path_exists(assert: bool) -> Condition {
    Condition {
        check: Check::PathExists,
        argument: "/missing".into(),
        negated: false,
        trigger: false,
        assert,
        at: Place::default(),
    }
}

#[test]
fn an_assert_that_does_not_hold_fails_the_start_and_not_the_unit() {
    let mut node = Node::with(&[(
        "a.target",
        &[
            (Relation::Requires, "b.target"),
            (Relation::After, "b.target"),
            (Relation::Wants, "c.target"),
            (Relation::After, "c.target"),
        ],
    )]);
    for name in ["b.target", "c.target"] {
        let mut unit = Unit::new(name, UnitType::Target);
        unit.conditions.push(path_exists(true));
        node.supervisor.graph.insert(unit).unwrap();
    }
    node.supervisor.make_room();
    node.start("a.target");
    for name in ["b.target", "c.target"] {
        assert_eq!(node.phase(name), Phase::Dead);
        let id = node.supervisor.graph.id(name).unwrap();
        assert_eq!(node.supervisor.states[id].result, Outcome::Assert);
        assert_eq!(node.supervisor.states[id].result.result(), "success");
    }
    assert_eq!(node.phase("a.target"), Phase::Dead, "it requires one");
    assert_eq!(node.supervisor.states[0].result, Outcome::Dependency);
}

#[test]
fn a_start_that_is_refused_or_forgotten_leaves_no_clock() {
    let mut node = Node::with(&[]);
    let mut unit = Unit::new("a.service", UnitType::Service);
    unit.conditions.push(path_exists(true));
    node.supervisor.graph.insert(unit).unwrap();
    node.supervisor.make_room();
    let wait = |node: &mut Node| {
        node.supervisor.states[0].phase = Phase::AutoRestart;
        for timer in Timer::ALL {
            node.supervisor.host.arm(0, timer, Some(u64::MAX));
        }
    };
    wait(&mut node);
    node.start("a.service");
    assert_eq!(node.phase("a.service"), Phase::Dead);
    assert_eq!(node.supervisor.host.timers.next_us(), None);
    wait(&mut node);
    node.supervisor.forget_state(0);
    assert_eq!(node.supervisor.host.timers.next_us(), None);
}

#[test]
fn idle_services_run_once_no_job_is_left() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut node = Node::with(&[("a.target", &[]), ("slow.service", &[])]);
    let may_run = |idle: &std::os::fd::OwnedFd| {
        let mut polled = [PollFd::new(idle, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).unwrap() == 1
    };
    let supervisor = &mut node.supervisor;
    let waits = supervisor.host.idle().unwrap();
    supervisor.jobs.submit_running(1);
    node.start("a.target");
    assert!(!may_run(&waits), "a job is left");
    let also = node.supervisor.host.idle().unwrap();
    node.supervisor.jobs.finish(1, &node.supervisor.graph);
    node.supervisor.run_jobs();
    assert!(may_run(&waits) && may_run(&also));
    let later = node.supervisor.host.idle().unwrap();
    assert!(!may_run(&later), "those that start later wait anew");
}

/// A service that is up, with the control group of this very test: its children are the service's processes.
fn running() -> Node {
    let mut node = Node::with(&[]);
    let mut unit = Unit::new("a.service", UnitType::Service);
    unit.service.notify.given = Some(NotifyAccess::All);
    node.supervisor.graph.insert(unit).unwrap();
    node.supervisor.make_room();
    let own = std::process::id() as i32;
    let own = node.supervisor.host.cgroups.of_process(own);
    let state = &mut node.supervisor.states[0];
    (state.phase, state.cgroup) = (Phase::Running, own);
    node
}

/// A process that ends with the test.
struct Sleeper(std::process::Child);

impl Sleeper {
    /// Runs a line of shell, which may end in `exec sleep`.
    fn of(line: &str) -> Self {
        use std::process::{Command, Stdio};
        let mut command = Command::new("sh");
        command.args(["-c", line]).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_a_process_said_last_is_heard_before_its_number_is_free() {
    use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType, sendto, socket};
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let mut node = running();
    let address = SocketAddrUnix::new(&node.supervisor.config.notify_socket).unwrap();
    let speaker = socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap();
    let child = crate::sys::clone::child(crate::sys::clone::Birth::default(), || {
        let _ = sendto(&speaker, b"STATUS=farewell", SendFlags::empty(), &address);
    });
    let pid = child.unwrap().pid;
    let id = WaitId::Pid(Pid::from_raw(pid).unwrap());
    waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
    let mut ended = [pid].into_iter();
    node.supervisor.reap(|| ended.next());
    assert_eq!(
        node.supervisor.states[0].status_text.as_deref(),
        Some("farewell")
    );
    assert!(!crate::reap::is_child(pid), "it was collected");
}

#[test]
fn of_many_messages_a_part_is_heard_and_the_rest_waits() {
    let mut node = running();
    let client = std::os::unix::net::UnixDatagram::unbound().unwrap();
    for _ in 0..3 {
        let socket = &node.supervisor.config.notify_socket;
        client.send_to(b"STATUS=busy", socket).unwrap();
    }
    let heard = [2, process::BATCH, 1].map(|most| node.supervisor.hear(most));
    assert_eq!(heard, [2, 1, 0]);
}

#[test]
fn of_many_processes_that_ended_a_part_is_collected_and_the_rest_is_remembered() {
    let mut node = running();
    // Numbers that no process has.
    let mut ended = (i32::MAX - 400)..i32::MAX;
    node.supervisor.reap(|| ended.next());
    assert_eq!(ended.len(), 400 - crate::reap::BATCH);
    assert!(node.supervisor.unreaped);
    node.supervisor.reap(|| ended.next());
    assert_eq!(ended.len(), 0);
    assert!(!node.supervisor.unreaped);
}

#[test]
fn a_service_that_names_another_main_process_gives_the_old_one_up() {
    let mut node = running();
    let sleepers = ["exec sleep 1000"; 2].map(Sleeper::of);
    let [old, new] = sleepers.each_ref().map(Sleeper::pid);
    node.supervisor.new_main(0, old);
    node.supervisor.new_main(0, new);
    assert_eq!(node.supervisor.states[0].main, Some(new));
    let host = &node.supervisor.host;
    assert_eq!(host.pidfds.keys().collect::<Vec<_>>(), [&new]);
    assert_eq!(host.reaper.owner(old), None);
}

#[test]
fn a_main_process_that_is_not_our_child_is_seen_to_end() {
    use std::io::{BufRead as _, BufReader};
    let mut node = running();
    // A parent that does not wait: its child stays, ended.
    let mut parent = Sleeper::of("sleep 1000 & echo $!; exec sleep 1000");
    let mut line = String::new();
    let mut said = BufReader::new(parent.0.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let pid: i32 = line.trim().parse().unwrap();
    node.supervisor.new_main(0, pid);
    assert_eq!(node.supervisor.states[0].main, Some(pid));
    assert!(crate::sys::signal::send(pid, libc::SIGKILL));
    let named = Source::Named(pid.unsigned_abs());
    let long = Duration::from_secs(30);
    while !node
        .supervisor
        .host
        .events
        .wait(long)
        .unwrap()
        .contains(&named)
    {}
    node.supervisor.named_ended(pid);
    let state = &node.supervisor.states[0];
    assert_eq!((state.main, state.phase), (None, Phase::Dead));
    assert!(node.supervisor.host.pidfds.is_empty());
}

/// A whole turn would collect the children of other tests.
#[test]
fn the_loop_does_not_sleep_past_a_pause_of_the_control_socket() {
    let mut node = Node::with(&[]);
    let supervisor = &mut node.supervisor;
    let day = Duration::from_secs(86_400);
    assert_eq!(supervisor.idle(day), day);
    let control = supervisor.control.as_mut().unwrap();
    control.pause(&supervisor.host.events);
    assert!(supervisor.idle(day) < day);
}

#[test]
fn a_failed_service_whose_group_empties_late_restarts() {
    use spec_unit::directive::restart::Restart;
    let mut node = Node::with(&[]);
    let mut unit = Unit::new("a.service", UnitType::Service);
    unit.service.restart.policy = Restart::Always;
    node.supervisor.graph.insert(unit).unwrap();
    node.supervisor.make_room();
    let group = spec_unit::plan::Cgroup {
        path: "a.service".into(),
        ..Default::default()
    };
    let folder = node.supervisor.config.cgroup_root.join(&group.path);
    std::fs::create_dir_all(&folder).unwrap();
    let events = folder.join("cgroup.events");
    std::fs::write(&events, "populated 1\n").unwrap();
    let cgroups = &mut node.supervisor.host.cgroups;
    cgroups.create(&group, None).unwrap();
    cgroups.watch(&group.path).unwrap();
    let state = &mut node.supervisor.states[0];
    (state.phase, state.result) = (Phase::Failed, Outcome::Timeout);
    (state.cgroup, state.left_behind) = (Some(group.path), true);
    node.supervisor.groups_changed();
    assert_eq!(node.phase("a.service"), Phase::Failed);
    std::fs::write(&events, "populated 0\n").unwrap();
    node.supervisor.groups_changed();
    assert_eq!(node.phase("a.service"), Phase::AutoRestart);
    assert!(node.supervisor.host.timers.next_us().is_some());
}
