//! A supervisor that ends and another one that goes on, as over a re-execution: in one process, with real children.

use std::os::fd::AsFd as _;
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, WaitId, WaitIdOptions};
use spec_unit::control::{ExitStatus, Request, ShutdownAction};
use spec_unit::graph::{JobKind, UnitId};
use spec_unit::plan::ExecPlan;

use super::super::super::spawn::ExecReport;
use super::super::super::state::Phase;
use super::super::super::supervise::Host as _;
use super::super::Supervisor;
use super::super::tests::Node;
use super::*;
use crate::event::Source;

/// Every descriptor that a state names.
fn named(state: &State) -> Vec<RawFd> {
    let mut numbers = Vec::new();
    for (_, around) in state.units.values() {
        numbers.extend(&around.handed);
        numbers.extend(around.stored.iter().map(|kept| kept.fd));
        numbers.extend(around.network.into_iter().chain(around.ipc));
        for process in &around.processes {
            numbers.extend(process.pidfd);
            numbers.extend(process.report.as_ref().map(|report| report.socket));
        }
    }
    let rest = &state.rest;
    numbers.extend(rest.clients.iter().map(|client| client.socket));
    numbers.extend([rest.notify, rest.control, rest.idle].into_iter().flatten());
    numbers
}

/// Goes on with what the supervisor has mirrored; `planned` or after a crash.
fn reexecute(node: &mut Node, planned: bool) {
    let old = &mut node.supervisor;
    if planned {
        old.mirror_for_exec(None).unwrap();
    } else {
        old.mirror(None);
    }
    let text = old.mirrored.mirror.as_mut().unwrap().text();
    let state = State::read(&text).unwrap();
    let own = Pid::from_raw(std::process::id() as i32).unwrap();
    let own = rustix::process::pidfd_open(own, PidfdFlags::empty()).unwrap();
    let copy = |number: RawFd| {
        let flags = PidfdGetfdFlags::empty();
        let copy = rustix::process::pidfd_getfd(&own, number, flags).unwrap();
        (number, copy)
    };
    let mut fds: Descriptors = named(&state).into_iter().map(copy).collect();
    let config = old.config.clone();
    node.supervisor = Supervisor::resume(&config, state, &mut fds).unwrap();
    assert!(fds.is_empty(), "all is taken over: {fds:?}");
}

/// A node with unit files.
fn with_files(files: &[(&str, &str)]) -> Node {
    let mut node = Node::with(&[]);
    let folder = node.folder.path().join("etc/systemd/system");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
        node.supervisor.load(name).unwrap();
    }
    node
}

fn id(node: &Node, name: &str) -> UnitId {
    node.supervisor.graph.id(name).unwrap()
}

/// A child of this test as the main process of a unit that is up.
fn run(node: &mut Node, name: &str) -> std::process::Child {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    let (pid, id) = (child.id() as i32, id(node, name));
    let number = Pid::from_raw(pid).unwrap();
    let pidfd = rustix::process::pidfd_open(number, PidfdFlags::empty()).unwrap();
    let host = &mut node.supervisor.host;
    host.reaper.register(pid, (id, Role::Main));
    host.pidfds.insert(pid, pidfd);
    let state = &mut node.supervisor.states[id];
    (state.phase, state.main, state.restarts) = (Phase::Running, Some(pid), 3);
    child
}

const SERVICE: (&str, &str) = (
    "a.service",
    "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep 1000\nNotifyAccess=all\nFileDescriptorStoreMax=4\nRestart=always\n",
);

#[test]
fn services_clocks_and_descriptors_go_on_planned_and_after_a_crash() {
    for planned in [true, false] {
        let mut node = with_files(&[SERVICE]);
        let mut child = run(&mut node, "a.service");
        let a = id(&node, "a.service");
        let host = &mut node.supervisor.host;
        host.arm(a, Timer::Watchdog, Some(77_000_000_000));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let (events, name) = (&host.events, Some("data".to_string()));
        host.stores
            .add(events, a, 4, ours.into(), name, true)
            .unwrap();
        reexecute(&mut node, planned);
        let a = id(&node, "a.service");
        let state = &node.supervisor.states[a];
        assert_eq!(state.phase, Phase::Running);
        assert_eq!((state.main, state.restarts), (Some(child.id() as i32), 3));
        let host = &node.supervisor.host;
        assert_eq!(host.timers.at((a, Timer::Watchdog)), Some(77_000_000_000));
        assert_eq!(host.stores.of(a)[0].name, "data");
        assert!(host.pidfds.contains_key(&(child.id() as i32)));
        drop(theirs);
        let ready = host
            .events
            .wait(std::time::Duration::from_secs(10))
            .unwrap();
        assert!(
            ready
                .iter()
                .any(|source| matches!(source, Source::Stored(_)))
        );
        assert!(child.try_wait().unwrap().is_none(), "it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Mirrors what is known to have changed, as the loop does: a look at all units finds nothing more.
fn mirrors_changes(node: &mut Node, what: &str) {
    let text = |supervisor: &mut Supervisor| {
        let mirror = supervisor.mirrored.mirror.as_mut().unwrap();
        String::from_utf8(mirror.text()).unwrap()
    };
    let before = text(&mut node.supervisor);
    node.supervisor.mirror_changed(None);
    let known = text(&mut node.supervisor);
    assert_ne!(before, known, "{what}: nothing is mirrored");
    node.supervisor.mirror(None);
    let all = text(&mut node.supervisor);
    assert_eq!(known, all, "{what}: not all is mirrored");
}

#[test]
fn what_changes_is_mirrored_without_a_look_at_all_units() {
    let other = (
        "b.service",
        "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/true\n",
    );
    let mut node = with_files(&[SERVICE, other]);
    node.supervisor.mirror(None);
    node.supervisor.mirrored.put_off();
    let [a, b] = ["a.service", "b.service"].map(|name| id(&node, name));
    node.supervisor
        .host
        .arm(b, Timer::Watchdog, Some(77_000_000_000));
    mirrors_changes(&mut node, "a clock");
    node.supervisor
        .request("b.service", JobKind::Start)
        .unwrap();
    mirrors_changes(&mut node, "a job");
    let mut child = run(&mut node, "a.service");
    mirrors_changes(&mut node, "a process");
    node.supervisor.host.handed.insert(a, Vec::new());
    node.supervisor.host.ipc_owners.insert(a, (900, false));
    node.supervisor.host.forget(a);
    node.supervisor.host.reaper.forget(child.id() as i32);
    mirrors_changes(&mut node, "a unit that is forgotten");
    node.supervisor.run_jobs();
    node.supervisor.begin_shutdown(ShutdownAction::Poweroff);
    mirrors_changes(&mut node, "a shutdown");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_end_and_a_message_in_between_are_learned_of() {
    let mut node = with_files(&[SERVICE]);
    let mut child = run(&mut node, "a.service");
    node.supervisor.mirror(None);
    let socket = node.supervisor.config.notify_socket.clone();
    let speaker = std::os::unix::net::UnixDatagram::unbound().unwrap();
    speaker.send_to(b"STATUS=waits", socket).unwrap();
    child.kill().unwrap();
    let pid = child.id() as i32;
    let number = WaitId::Pid(Pid::from_raw(pid).unwrap());
    rustix::process::waitid(number, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
    // The one who spoke must belong to a unit: this very process.
    let a = id(&node, "a.service");
    let host = &mut node.supervisor.host;
    host.reaper
        .register(std::process::id() as i32, (a, Role::Control));
    reexecute(&mut node, false);
    assert!(node.supervisor.unreaped && node.supervisor.host.cgroups.unseen);
    let mut ended = [pid].into_iter();
    node.supervisor.reap(|| ended.next());
    let state = &node.supervisor.states[id(&node, "a.service")];
    assert_eq!(state.main_exit, Some(ExitStatus::Signaled(libc::SIGKILL)));
    assert_eq!(state.status_text.as_deref(), Some("waits"));
    assert_eq!((state.phase, state.restarts), (Phase::AutoRestart, 4));
    assert!(child.wait().is_err(), "it was collected");
}

#[test]
fn jobs_are_carried_out_and_wait_for_what_they_waited_for() {
    let files = [
        SERVICE,
        (
            "b.target",
            "[Unit]\nDefaultDependencies=no\nRequires=a.service\nAfter=a.service\n",
        ),
    ];
    let mut node = with_files(&files);
    let supervisor = &mut node.supervisor;
    supervisor.request("b.target", JobKind::Start).unwrap();
    let a = supervisor.graph.id("a.service").unwrap();
    // Its start is under way.
    supervisor.jobs.submit_running(a);
    supervisor.states[a].phase = Phase::Start;
    reexecute(&mut node, false);
    node.supervisor.run_jobs();
    assert_eq!(node.phase("b.target"), Phase::Dead, "it waits");
    let a = id(&node, "a.service");
    node.supervisor
        .with_machine(a, |machine| machine.state.phase = Phase::Running);
    node.supervisor.run_jobs();
    assert_eq!(node.phase("b.target"), Phase::Active);
    assert_eq!(node.supervisor.jobs.iter().count(), 0);
}

#[test]
fn a_crash_right_after_a_unit_came_up_ends_its_job() {
    let mut node = with_files(&[SERVICE]);
    let a = id(&node, "a.service");
    node.supervisor.jobs.submit_running(a);
    node.supervisor.states[a].phase = Phase::Running;
    reexecute(&mut node, false);
    assert_eq!(node.supervisor.jobs.iter().count(), 0);
    assert_eq!(node.phase("a.service"), Phase::Running);
}

#[test]
fn transient_units_a_shutdown_and_units_without_a_file_go_on() {
    let mut node = with_files(&[SERVICE]);
    let supervisor = &mut node.supervisor;
    let plan = ExecPlan {
        program: "/bin/true".into(),
        ..ExecPlan::default()
    };
    let unit = super::super::super::transient::transient("task.service", 0);
    let task = supervisor.graph.insert(unit).unwrap();
    supervisor.make_room();
    let state = &mut supervisor.states[task];
    state.plan = Some(Box::new(plan.clone()));
    state.phase = Phase::Dead;
    state.main_exit = Some(ExitStatus::Exited(5));
    let handed = tempfile::tempfile().unwrap();
    supervisor.host.handed.insert(task, vec![handed.into()]);
    let mut child = run(&mut node, "a.service");
    let file = node.folder.path().join("etc/systemd/system/a.service");
    std::fs::remove_file(file).unwrap();
    reexecute(&mut node, true);
    assert_eq!(node.phase("a.service"), Phase::Running);
    let task = id(&node, "task.service");
    assert_eq!(node.supervisor.host.handed[&task].len(), 1);
    let state = &node.supervisor.states[task];
    assert_eq!(state.plan.as_deref(), Some(&plan));
    assert_eq!(state.main_exit, Some(ExitStatus::Exited(5)));
    node.supervisor.begin_shutdown(ShutdownAction::Poweroff);
    let before = node.supervisor.shutdown;
    reexecute(&mut node, false);
    assert!(before.is_some() && node.supervisor.shutdown == before);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn clients_stay_over_a_planned_one_and_are_hung_up_after_a_crash() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    if !rustix::process::getuid().is_root() {
        println!("skipped: only root may be a client");
        return;
    }
    for planned in [true, false] {
        let mut node = with_files(&[SERVICE]);
        let client = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        let address = SocketAddrUnix::new(&node.supervisor.config.control_socket).unwrap();
        connect(&client, &address).unwrap();
        node.supervisor.accept();
        let envelope = spec_unit::control::Envelope {
            version: spec_unit::control::VERSION,
            id: 9,
            request: Request::List { offset: 0 },
        };
        let request = serde_json::to_vec(&envelope).unwrap();
        rustix::io::write(&client, &request).unwrap();
        reexecute(&mut node, planned);
        if planned {
            node.supervisor.serve(1);
        }
        let mut answer = vec![0; 4096];
        let mut received = crate::sys::message::receive(client.as_fd(), &mut answer);
        for _ in 0..1000 {
            // Children of other tests may have a copy of the connection for a moment.
            match &received {
                Err(cause) if cause.kind() == std::io::ErrorKind::WouldBlock => {}
                _ => break,
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            received = crate::sys::message::receive(client.as_fd(), &mut answer);
        }
        let answered = match received {
            Ok(received) => received.length > 0,
            // Hung up with a request unread.
            Err(cause) => cause.kind() != std::io::ErrorKind::ConnectionReset,
        };
        assert_eq!(answered, planned);
    }
}

#[test]
fn children_that_run_no_program_yet_are_heard() {
    let mut node = with_files(&[SERVICE]);
    let (read, write) = crate::sys::clone::pair(3).unwrap();
    let a = id(&node, "a.service");
    let report = ExecReport::again(read, "/bin/x".into(), false);
    // A number that no process has.
    let pid = i32::MAX - 9;
    let host = &mut node.supervisor.host;
    host.reaper.register(pid, (a, Role::Main));
    host.reports.insert(pid, (a, report));
    node.supervisor.states[a].phase = Phase::Start;
    node.supervisor.states[a].main = Some(pid);
    reexecute(&mut node, false);
    let failed = [b"f", &libc::ENOENT.to_ne_bytes()[..], b"open"].concat();
    rustix::io::write(&write, &failed).unwrap();
    // As at its end.
    drop(write);
    let long = std::time::Duration::from_secs(10);
    let ready = node.supervisor.host.events.wait(long).unwrap();
    assert!(ready.contains(&Source::Exec(pid.unsigned_abs())));
    node.supervisor.exec_report(pid);
    let state = &node.supervisor.states[id(&node, "a.service")];
    let reason = state.reason.clone().unwrap_or_default();
    assert!(reason.contains("/bin/x: open: "), "{reason}");
}

#[test]
fn a_mirror_is_read_up_to_its_last_whole_line_and_only_by_its_own_version() {
    let mut node = with_files(&[SERVICE]);
    let mut child = run(&mut node, "a.service");
    node.supervisor.mirror(None);
    let before = node.supervisor.mirrored.mirror.as_mut().unwrap().text();
    node.supervisor.mirror(None);
    let mut text = node.supervisor.mirrored.mirror.as_mut().unwrap().text();
    assert_eq!(text, before, "what has not changed is not written");
    text.extend(b"{\"gone\":\"a.serv");
    assert_eq!(State::read(&text).unwrap().units.len(), 1);
    text.extend(b"ice\"}\n");
    assert_eq!(State::read(&text).unwrap().units.len(), 0);
    assert!(State::read(b"").unwrap_err().contains("version 0"));
    assert!(State::read(b"nonsense\n").is_err());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn too_many_crashes_end_in_a_reboot_and_old_ones_do_not_count() {
    let mut state = State::default();
    for at in 0..MOST_CRASHES as u64 {
        assert_eq!(state.note_crash(at), Ok(()));
    }
    assert!(state.note_crash(9).unwrap_err().contains("10 minutes"));
    assert_eq!(state.note_crash(CRASH_WINDOW_US + 100), Ok(()));
}

#[test]
fn devices_are_known_over_a_reexecution_without_being_told_again() {
    use spec_unit::device::{Device, Telling};
    for planned in [true, false] {
        let mut node = with_files(&[(
            "a.target",
            "[Unit]\nDefaultDependencies=no\nBindsTo=dev-vda.device\nAfter=dev-vda.device\n",
        )]);
        let disk = Device {
            path: "/devices/virtio1/block/vda".into(),
            names: vec!["/dev/vda".into()],
        };
        node.start("a.target");
        let told = node
            .supervisor
            .hear_devices(Telling::Changes, vec![disk.clone()], &[]);
        assert_eq!(told, Ok(()));
        node.supervisor.run_jobs();
        assert_eq!(node.phase("a.target"), Phase::Active);
        reexecute(&mut node, planned);
        assert_eq!(node.phase("dev-vda.device"), Phase::Plugged);
        assert!(node.supervisor.host.devices.has("dev-vda.device"));
        let gone = node
            .supervisor
            .hear_devices(Telling::Changes, vec![], &[disk.path]);
        assert_eq!(gone, Ok(()));
        node.supervisor.run_jobs();
        assert_eq!(node.phase("a.target"), Phase::Dead);
    }
}

#[test]
fn a_main_process_that_was_collected_right_before_a_crash_is_gone() {
    let mut node = with_files(&[SERVICE]);
    let mut child = run(&mut node, "a.service");
    // PID 1 knows its own children by their numbers.
    node.supervisor.host.pidfds.clear();
    node.supervisor.mirror(None);
    child.kill().unwrap();
    child.wait().unwrap();
    reexecute(&mut node, false);
    let state = &node.supervisor.states[id(&node, "a.service")];
    assert_eq!(state.main, None);
    assert_ne!(state.phase, Phase::Running, "it is not taken for running");
}
