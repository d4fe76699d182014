//! Mount units, by what the table of mounts says and what becomes of their processes.

use super::*;

/// A unit with a file, of which nothing is mounted.
fn node() -> (Node, UnitId) {
    let mut node = Node::with(&[]);
    let folder = node.folder.path().join("etc/systemd/system");
    std::fs::create_dir_all(&folder).unwrap();
    let text = "[Unit]\nDefaultDependencies=no\n[Mount]\nWhat=tmpfs\nType=tmpfs\n";
    std::fs::write(folder.join("no-such-mount.mount"), text).unwrap();
    let bound = "[Unit]\nDefaultDependencies=no\nBindsTo=no-such-mount.mount\n";
    std::fs::write(folder.join("bound.target"), bound).unwrap();
    node.supervisor.load("bound.target").unwrap();
    let id = node.supervisor.graph.id("no-such-mount.mount").unwrap();
    (node, id)
}

const NAME: &str = "no-such-mount.mount";

/// A child of the unit's is at work; its number is nobody's.
fn at_work(node: &mut Node, id: UnitId, phase: Phase) {
    let kind = match phase {
        Phase::Mounting => JobKind::Start,
        _ => JobKind::Stop,
    };
    let jobs = [(id, kind)].into();
    let skipped = Vec::new();
    node.supervisor.submit(&Transaction { jobs, skipped });
    let graph = &node.supervisor.graph;
    assert_eq!(node.supervisor.jobs.next(graph), Some((id, kind)));
    let state = &mut node.supervisor.states[id];
    (state.phase, state.result) = (phase, Outcome::Success);
}

#[test]
fn what_is_mounted_at_the_start_is_up_and_needs_no_file() {
    let mut node = Node::with(&[]);
    node.supervisor.load("-.mount").unwrap();
    assert_eq!(
        node.phase("-.mount"),
        Phase::Mounted,
        "the root of this host"
    );
    node.supervisor.begin_shutdown(ShutdownAction::Reboot);
    node.supervisor.run_jobs();
    assert_eq!(
        node.phase("-.mount"),
        Phase::Mounted,
        "it goes after the units"
    );
    assert!(node.supervisor.load("no-such-mount.mount").is_ok());
    let id = node.supervisor.graph.id(NAME).unwrap();
    let unit = node.supervisor.graph.unit(id).unwrap();
    assert_eq!(unit.load, LoadState::NotFound);
}

#[test]
fn a_mount_that_vanishes_takes_along_what_is_bound_to_it() {
    let (mut node, id) = node();
    node.supervisor.states[id].phase = Phase::Mounted;
    let bound = node.supervisor.graph.id("bound.target").unwrap();
    node.supervisor.states[bound].phase = Phase::Active;
    node.supervisor.mounts_changed();
    node.supervisor.run_jobs();
    assert_eq!(node.phase(NAME), Phase::Dead);
    assert_eq!(node.phase("bound.target"), Phase::Dead);
}

#[test]
fn an_end_without_a_mount_is_a_failure_with_the_kernels_reason() {
    let (mut node, id) = node();
    at_work(&mut node, id, Phase::Mounting);
    node.supervisor
        .mount_child_ended(id, ExitStatus::Exited(libc::ENODEV));
    assert_eq!(node.phase(NAME), Phase::Failed);
    let state = &node.supervisor.states[id];
    assert_eq!(state.result, Outcome::ExitCode);
    assert!(state.reason.as_ref().unwrap().contains("No such device"));
    assert_eq!(node.supervisor.jobs.get(id), None);
    at_work(&mut node, id, Phase::Mounting);
    node.supervisor.mount_child_ended(id, ExitStatus::Exited(0));
    assert_eq!(node.supervisor.states[id].result, Outcome::Protocol);
}

#[test]
fn a_mount_that_hangs_is_killed_and_then_left_behind() {
    let (mut node, id) = node();
    at_work(&mut node, id, Phase::Mounting);
    node.supervisor.mount_timed_out(id);
    assert_eq!(node.phase(NAME), Phase::UnmountingSigkill);
    assert!(node.supervisor.host.timers.at((id, Timer::Phase)).is_some());
    node.supervisor.mount_timed_out(id);
    assert_eq!(node.phase(NAME), Phase::Failed);
    assert_eq!(node.supervisor.states[id].result, Outcome::Timeout);
    assert_eq!(node.supervisor.jobs.get(id), None);
    assert_eq!(node.supervisor.host.timers.at((id, Timer::Phase)), None);
}

#[test]
fn an_unmount_that_fails_ends_the_job_and_the_unit_stays_up() {
    let mut node = Node::with(&[]);
    let id = node.supervisor.load("-.mount").unwrap();
    at_work(&mut node, id, Phase::Unmounting);
    node.supervisor
        .mount_child_ended(id, ExitStatus::Exited(libc::EBUSY));
    assert_eq!(node.phase("-.mount"), Phase::Mounted);
    assert_eq!(node.supervisor.jobs.get(id), None);
}

/// Says that this process has a mount namespace of its own, in which it may do as it likes.
const ALONE: &str = "BEDPLATE_TEST_ALONE";

/// Turns the loop once. A signal may have gone to another thread of this test, so it looks for children by itself.
fn turn(node: &mut Node) {
    node.supervisor.unreaped = true;
    node.supervisor.turn(Duration::from_millis(50)).unwrap();
    node.supervisor.run_jobs();
    std::thread::sleep(Duration::from_millis(5));
}

/// Turns the loop until a unit is where it should be.
fn until(node: &mut Node, name: &str, phase: Phase) {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        turn(node);
        if node.phase(name) == phase {
            return;
        }
    }
    panic!("{name} is {:?}, and not {phase:?}", node.phase(name));
}

/// Runs itself as root in a mount namespace of its own.
#[test]
fn real_mounts_are_made_seen_and_undone() {
    if std::env::var_os(ALONE).is_none() {
        let name = "unit::supervisor::tests::mounts::real_mounts_are_made_seen_and_undone";
        let output = std::process::Command::new("unshare")
            .args(["-m", "--propagation", "private"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(ALONE, "1")
            .output();
        return match output {
            Ok(output) if rustix::process::geteuid().is_root() => {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(
                    output.status.success() && said.contains("1 passed"),
                    "{said}"
                );
            }
            _ => println!("Skipped: it takes root and unshare(1) to mount"),
        };
    }
    let mut node = Node::with(&[]);
    let base = node.folder.path().canonicalize().unwrap();
    let folder = base.join("etc/systemd/system");
    std::fs::create_dir_all(&folder).unwrap();
    let target = base.join("new/a-b");
    let name =
        |path: &Path| spec_unit::name::of_path(path.to_str().unwrap(), UnitType::Mount).unwrap();
    let unit = |path: &Path, text: &str| {
        let text = format!("[Unit]\nDefaultDependencies=no\n[Mount]\n{text}");
        std::fs::write(folder.join(name(path)), text).unwrap();
    };
    unit(
        &target,
        "What=tmpfs\nType=tmpfs\nOptions=nodev,size=1m,user\nDirectoryMode=0750\n",
    );
    let (own, copy) = (name(&target), base.join("copy"));
    unit(
        &copy,
        &format!("What={}\nOptions=bind,ro\n", target.display()),
    );

    // The copy needs what it is a copy of.
    node.start(&name(&copy));
    until(&mut node, &name(&copy), Phase::Mounted);
    assert_eq!(node.phase(&own), Phase::Mounted);
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = |target: &Path| {
        let word = format!(" {} ", target.display());
        table
            .lines()
            .find(|line| line.contains(&word))
            .unwrap()
            .to_string()
    };
    assert!(
        line(&target).contains(" rw,nosuid,nodev,noexec,"),
        "{}",
        line(&target)
    );
    assert!(line(&target).contains("size=1024k"));
    assert!(line(&copy).contains(" ro,"), "{}", line(&copy));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(base.join("new"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o750);

    // Somebody else unmounts and mounts; nobody asks the table.
    let flags = rustix::mount::UnmountFlags::empty();
    rustix::mount::unmount(&copy, flags).unwrap();
    until(&mut node, &name(&copy), Phase::Dead);
    rustix::mount::mount_bind(&target, &copy).unwrap();
    until(&mut node, &name(&copy), Phase::Mounted);

    // What is busy stays, and the stop ends all the same.
    let busy = std::fs::File::create(target.join("busy")).unwrap();
    node.stop(&own);
    until(&mut node, &name(&copy), Phase::Dead);
    let end = Instant::now() + Duration::from_secs(30);
    while node.supervisor.jobs.iter().next().is_some() && Instant::now() < end {
        turn(&mut node);
    }
    assert_eq!(node.phase(&own), Phase::Mounted, "it is busy");
    assert!(node.supervisor.jobs.iter().next().is_none());
    drop(busy);
    node.stop(&own);
    until(&mut node, &own, Phase::Dead);

    // A file system that does not know its option says so.
    unit(
        &base.join("odd"),
        "What=tmpfs\nType=tmpfs\nOptions=no-such-option=1\n",
    );
    let odd = name(&base.join("odd"));
    node.start(&odd);
    until(&mut node, &odd, Phase::Failed);
    let id = node.supervisor.graph.id(&odd).unwrap();
    assert_eq!(node.supervisor.states[id].result, Outcome::ExitCode);
}
