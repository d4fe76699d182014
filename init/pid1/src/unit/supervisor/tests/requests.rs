//! What clients of the control socket ask: what is refused, and what nothing is left of.

use std::fs;
use std::os::fd::OwnedFd;

use spec_unit::control::{MAX_TRANSIENT, MAX_TRANSIENT_OF_ONE_USER, Reply, Request};
use spec_unit::plan::{Cgroup, ExecPlan, FdSlot, Input, Stdio};

use super::*;

impl Node {
    fn ask(&mut self, request: Request, fds: Vec<OwnedFd>) -> Reply {
        self.ask_as(0, request, fds)
    }

    fn ask_as(&mut self, uid: u32, request: Request, fds: Vec<OwnedFd>) -> Reply {
        self.supervisor.answer(crate::protocol::Asked {
            client: 1,
            uid,
            id: 1,
            request,
            fds,
        })
    }

    fn file(&self, name: &str, text: &str) {
        let folder = self.folder.path().join("usr/lib/systemd/system");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
    }

    /// Runs a transient unit that is handed one end of a pipe; returns the other.
    fn run(&mut self, name: &str) -> (Reply, fs::File) {
        self.run_as(0, name)
    }

    fn run_as(&mut self, uid: u32, name: &str) -> (Reply, fs::File) {
        let (read, write) = crate::sys::clone::pipe().unwrap();
        let plan = ExecPlan {
            program: "/bin/true".into(),
            argv: vec!["true".into()],
            stdio: Stdio {
                input: Input::Fd(FdSlot(0)),
                ..Stdio::default()
            },
            cgroup: Cgroup {
                path: format!("task.slice/{name}"),
                ..Cgroup::default()
            },
            ..ExecPlan::default()
        };
        let request = Request::Run {
            unit: name.into(),
            plan: Box::new(plan),
        };
        (self.ask_as(uid, request, vec![write.into()]), read)
    }
}

/// Nobody holds the other end of this pipe any more.
fn is_closed(mut pipe: &fs::File) -> bool {
    std::io::Read::read(&mut pipe, &mut [0]).is_ok_and(|count| count == 0)
}

fn unit(name: &str) -> String {
    name.into()
}

#[track_caller]
fn refused(reply: Reply) -> String {
    match reply {
        Reply::Error(message) => message,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn requests_of_clients_are_answered_with_reasons() {
    let mut node = Node::with(&[("a.target", &[])]);
    let mut ask = |request| node.ask(request, Vec::new());
    assert_eq!(
        ask(Request::Start {
            unit: "a.target".into()
        }),
        Reply::Ok
    );
    let Reply::Units { units, next } = ask(Request::List { offset: 0 }) else {
        panic!("no list")
    };
    assert_eq!((units.len(), next), (1, None));
    for refused in [
        Request::Show {
            unit: "b.target".into(),
        },
        Request::Start {
            unit: "../etc".into(),
        },
        Request::Collect {
            unit: "a.target".into(),
        },
        Request::Reload {
            unit: "a.target".into(),
        },
        Request::Run {
            unit: "a.service".into(),
            plan: Box::default(),
        },
        Request::Run {
            unit: "a.target".into(),
            plan: Box::default(),
        },
    ] {
        assert!(
            matches!(ask(refused.clone()), Reply::Error(_)),
            "{refused:?}"
        );
    }
}

#[test]
fn descriptors_of_a_run_that_is_refused_are_closed_and_its_name_is_free() {
    let mut node = Node::with(&[]);
    node.supervisor.begin_shutdown(ShutdownAction::Reboot);
    let (reply, pipe) = node.run("a.service");
    assert!(refused(reply).contains("shutting down"));
    assert!(is_closed(&pipe));
    assert_eq!(node.supervisor.graph.id("a.service"), None);
}

#[test]
fn descriptors_of_a_unit_that_was_stopped_before_it_started_are_closed() {
    let mut node = Node::with(&[]);
    let (reply, pipe) = node.run("a.service");
    assert_eq!(reply, Reply::Ok);
    assert!(!is_closed(&pipe));
    node.stop("a.service");
    assert!(is_closed(&pipe));
}

#[test]
fn descriptors_of_a_unit_that_cannot_be_made_are_closed() {
    let mut node = Node::with(&[]);
    let (_, pipe) = node.run("a.service");
    node.supervisor.run_jobs();
    assert_eq!(node.phase("a.service"), Phase::Failed);
    assert!(is_closed(&pipe));
}

#[test]
fn a_transient_unit_with_processes_left_is_not_forgotten() {
    let mut node = Node::with(&[]);
    node.run("a.service");
    node.stop("a.service");
    // A folder that rmdir(2) refuses, as it does a group in use.
    let group = node.folder.path().join("no-cgroups/task.slice/a.service");
    fs::create_dir_all(&group).unwrap();
    fs::write(group.join("process"), "").unwrap();
    let id = node.supervisor.graph.id("a.service").unwrap();
    node.supervisor.states[id].cgroup = Some("task.slice/a.service".into());
    let collect = || Request::Collect {
        unit: unit("a.service"),
    };
    let message = refused(node.ask(collect(), Vec::new()));
    assert!(
        message.contains("task.slice/a.service is in use"),
        "{message}"
    );
    assert!(node.supervisor.graph.id("a.service").is_some());

    fs::remove_file(group.join("process")).unwrap();
    assert!(refused(node.ask(collect(), Vec::new())).contains("never ran"));
    assert!(!group.exists());
    assert_eq!(node.supervisor.graph.id("a.service"), None);
}

#[test]
fn there_is_an_end_to_transient_units_and_to_those_of_one_user() {
    let mut node = Node::with(&[]);
    let one = MAX_TRANSIENT_OF_ONE_USER;
    for number in 0..one {
        let (reply, _) = node.run_as(7, &format!("run-{number}.service"));
        assert_eq!(reply, Reply::Ok);
    }
    let (reply, pipe) = node.run_as(7, "more.service");
    assert!(refused(reply).contains("256 transient units already"));
    assert!(is_closed(&pipe));
    for number in one..MAX_TRANSIENT {
        let (reply, _) = node.run(&format!("run-{number}.service"));
        assert_eq!(reply, Reply::Ok);
    }
    assert!(refused(node.run("more.service").0).contains("2048 transient units already"));
    node.stop("run-0.service");
    let collect = |unit| Request::Collect { unit };
    refused(node.ask_as(7, collect(unit("run-0.service")), Vec::new()));
    assert_eq!(node.run("more.service").0, Reply::Ok);
}

#[test]
fn a_unit_is_collected_by_root_or_by_the_user_who_asked_for_it() {
    let mut node = Node::with(&[]);
    for (name, uid) in [("a.service", 7), ("b.service", 7), ("c.service", 0)] {
        assert_eq!(node.run_as(uid, name).0, Reply::Ok);
        node.stop(name);
    }
    let mut collect = |uid, name: &str| {
        let unit = unit(name);
        refused(node.ask_as(uid, Request::Collect { unit }, Vec::new()))
    };
    for name in ["a.service", "c.service"] {
        assert!(collect(8, name).contains("is not a unit of your user"));
    }
    assert!(collect(7, "c.service").contains("is not a unit of your user"));
    for (uid, name) in [(7, "a.service"), (0, "b.service"), (0, "c.service")] {
        assert!(collect(uid, name).contains("never ran"));
    }
}

#[test]
fn a_unit_of_a_user_lives_among_tasks_whatever_its_plan_says() {
    let mut node = Node::with(&[]);
    for (uid, slice) in [(0, "system.slice"), (7, "task.slice")] {
        let name = format!("of-{uid}.service");
        let plan = ExecPlan {
            program: "/bin/true".into(),
            argv: vec!["true".into()],
            cgroup: Cgroup {
                path: format!("system.slice/{name}"),
                ..Cgroup::default()
            },
            ..ExecPlan::default()
        };
        let request = Request::Run {
            unit: name.clone(),
            plan: Box::new(plan),
        };
        assert_eq!(node.ask_as(uid, request, Vec::new()), Reply::Ok);
        let id = node.supervisor.graph.id(&name).unwrap();
        let plan = node.supervisor.states[id].plan.as_ref().unwrap();
        assert_eq!(plan.cgroup.path, format!("{slice}/{name}"));
    }
}

#[test]
fn whoever_waits_is_answered_once_the_unit_is_down_and_when_it_is_forgotten() {
    let mut node = Node::with(&[]);
    for name in ["a.service", "b.service"] {
        node.run(name);
    }
    let over = |node: &mut Node, name: &str| node.supervisor.over(name);
    assert_eq!(over(&mut node, "a.service"), None, "it waits for its turn");
    node.supervisor.run_jobs();
    let Some(Reply::Unit(status)) = over(&mut node, "a.service") else {
        panic!("it is down")
    };
    assert_eq!((status.active.as_str(), status.exit), ("failed", None));
    assert!(status.reason.unwrap().contains("control group"));
    let collect = Request::Collect {
        unit: unit("b.service"),
    };
    refused(node.ask(collect, Vec::new()));
    let forgotten = over(&mut node, "b.service").map(refused);
    assert_eq!(forgotten.as_deref(), Some("b.service is forgotten"));
}

#[test]
fn a_unit_that_refuses_requests_by_hand_refuses_before_it_is_loaded_too() {
    let mut node = Node::with(&[]);
    node.file(
        "a.target",
        "[Unit]\nDefaultDependencies=no\nRefuseManualStart=yes\n",
    );
    node.file(
        "b.target",
        "[Unit]\nDefaultDependencies=no\nRefuseManualStop=yes\n",
    );
    let mut ask = |request| node.ask(request, Vec::new());
    let (a, b) = (|| unit("a.target"), || unit("b.target"));
    for request in [Request::Start { unit: a() }, Request::Restart { unit: a() }] {
        assert!(refused(ask(request)).contains("RefuseManualStart="));
    }
    assert_eq!(ask(Request::Stop { unit: a() }), Reply::Ok);
    for request in [
        Request::Stop { unit: b() },
        Request::Restart { unit: b() },
        Request::Kill {
            unit: b(),
            signal: 9,
        },
    ] {
        assert!(refused(ask(request)).contains("RefuseManualStop="));
    }
    assert_eq!(ask(Request::Start { unit: b() }), Reply::Ok);
}

#[test]
fn names_that_stand_for_nothing_leave_nothing_behind() {
    let mut node = Node::with(&[("a.target", &[(Relation::Wants, "gone.service")])]);
    for number in 0..3 {
        for request in [
            |unit| Request::Start { unit },
            |unit| Request::Stop { unit },
            |unit| Request::Restart { unit },
        ] {
            let reply = node.ask(request(format!("gone{number}.service")), Vec::new());
            assert!(refused(reply).contains("not-found"));
        }
    }
    let reply = node.ask(
        Request::Start {
            unit: unit("gone.service"),
        },
        Vec::new(),
    );
    assert!(refused(reply).contains("not-found"));
    let names: Vec<_> = node
        .supervisor
        .graph
        .units()
        .map(|(_, unit)| &unit.name)
        .collect();
    assert_eq!(
        names,
        ["a.target", "gone.service"],
        "one is named by another"
    );
}
