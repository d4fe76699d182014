//! The order of steps, written down; and real children.

use std::fs::File;

use spec_unit::capability::CapabilitySet;
use spec_unit::plan::{
    Cgroup, Credentials, Directory, FdSlot, FileMode, ListenFd, Namespace, NamespaceFd, Output,
    Resource, Rlimit, Stdio,
};

use super::order::journal_header;
use super::step::{Failure, Syscall};
use super::*;

mod check_units;
mod filter;
mod process;

/// Writes steps down; fails at one of them.
#[derive(Default)]
struct Recorder {
    names: Vec<&'static str>,
    fail_at: Option<&'static str>,
}

impl Syscall for Recorder {
    fn call(&mut self, step: &mut Step) -> Result<(), Failure> {
        let (name, _) = step.name_and_code();
        self.names.push(name);
        if self.fail_at == Some(name) {
            Err(Failure(libc::EPERM))
        } else {
            Ok(())
        }
    }
}

fn none() -> UnitNamespaces {
    UnitNamespaces::default()
}

fn plan(program: &str, arguments: &[&str]) -> ExecPlan {
    ExecPlan {
        program: program.into(),
        argv: std::iter::once(program)
            .chain(arguments.iter().copied())
            .map(String::from)
            .collect(),
        stdio: Stdio {
            output: Output::Null,
            ..Stdio::default()
        },
        cgroup: Cgroup {
            path: "system.slice/a.service".into(),
            ..Cgroup::default()
        },
        ..ExecPlan::default()
    }
}

#[test]
fn a_confined_child_does_what_needs_root_first_and_the_walls_last() {
    let fds = [
        File::open("/dev/null").unwrap().into(),
        File::open("/dev/null").unwrap().into(),
    ];
    let mut plan = plan("/bin/etcd", &[]);
    plan.stdio.output = Output::Journal;
    plan.oom_score_adjust = Some(0);
    plan.rlimits = [Resource::Nofile, Resource::Core]
        .map(|resource| Rlimit {
            resource,
            soft: 1,
            hard: 2,
        })
        .into();
    plan.directories = vec![Directory {
        path: "/run/etcd".into(),
        mode: 0o700,
        uid: 100,
        gid: 101,
        remove: true,
        ..Directory::default()
    }];
    plan.credentials = Some(Credentials {
        uid: 100,
        gid: 101,
        groups: vec![101],
    });
    plan.capabilities.bounding = Some(CapabilitySet(CapabilitySet::ALL.0 & !1));
    plan.capabilities.ambient = CapabilitySet(1 << 10);
    plan.no_new_privileges = true;
    plan.fds.root = Some(FdSlot(0));
    plan.fds.namespaces = vec![NamespaceFd {
        kind: Namespace::Network,
        fd: FdSlot(1),
    }];
    let mut recorder = Recorder::default();
    perform(
        &mut recorder,
        &mut steps(&plan, "etcd.service", &fds, &none()).unwrap(),
    )
    .unwrap();
    let expected = [
        "signals",
        "session",
        "OOMScoreAdjust",
        "limits",
        "standard input",
        "standard output",
        "file descriptors",
        "RuntimeDirectory",
        "RuntimeDirectory",
        "network namespace",
        "mounts",
        "root folder",
        "root folder",
        "UMask",
        "limits",
        "groups",
        "groups",
        "capabilities",
        "user",
        "capabilities",
        "capabilities",
        "WorkingDirectory",
        "NoNewPrivileges",
        "file descriptors",
        "report",
        "execution",
    ];
    assert_eq!(recorder.names, expected);
}

#[test]
fn nothing_runs_after_a_step_that_failed() {
    let mut plan = plan("/bin/a", &[]);
    plan.credentials = Some(Credentials {
        uid: 1,
        gid: 1,
        groups: vec![],
    });
    let mut recorder = Recorder {
        fail_at: Some("user"),
        ..Recorder::default()
    };
    let failed = perform(
        &mut recorder,
        &mut steps(&plan, "a.service", &[], &none()).unwrap(),
    )
    .unwrap_err();
    assert_eq!(failed.1, Failure(libc::EPERM));
    assert_eq!(recorder.names.last(), Some(&"user"));
}

#[test]
fn the_journal_is_told_who_speaks_in_seven_lines() {
    let mut plan = plan("/bin/a", &[]);
    plan.stdio.identifier = "a".into();
    assert_eq!(
        journal_header(&plan, "a.service"),
        b"a\na.service\n0\n0\n0\n0\n0\n"
    );
}

#[test]
fn a_slot_that_was_not_handed_over_is_refused() {
    let mut plan = plan("/bin/a", &[]);
    plan.fds.root = Some(FdSlot(3));
    assert!(steps(&plan, "a.service", &[], &none()).is_err());
}

fn wait(pid: i32) -> nix::sys::wait::WaitStatus {
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap()
}

fn outcome(report: &mut ExecReport) -> ExecOutcome {
    loop {
        match report.outcome() {
            ExecOutcome::Pending => std::thread::sleep(std::time::Duration::from_millis(1)),
            outcome => return outcome,
        }
    }
}

#[test]
fn a_child_has_its_own_number_of_open_files_and_not_pid_1s() {
    let limits = |rlimits: &[Rlimit]| {
        let mut plan = plan("/bin/a", &[]);
        plan.rlimits = rlimits.into();
        let steps = steps(&plan, "a.service", &[], &none()).unwrap();
        let limit = |step: Step| match step {
            Step::Limit { soft, hard, .. } => Some((soft, hard)),
            _ => None,
        };
        steps.into_iter().filter_map(limit).collect::<Vec<_>>()
    };
    assert_eq!(limits(&[]), [(1024, 524_288)]);
    let given = Rlimit {
        resource: Resource::Nofile,
        soft: 7,
        hard: 8,
    };
    assert_eq!(limits(&[given]), [(7, 8)]);
}

#[test]
fn a_child_that_asks_for_more_open_files_than_there_are_gets_the_most() {
    let mut plan = plan("/bin/sh", &["-c", "test $(ulimit -n) -gt 1024"]);
    plan.rlimits = vec![Rlimit {
        resource: Resource::Nofile,
        soft: u64::MAX,
        hard: u64::MAX,
    }];
    let mut spawned = spawn(&plan, "a.service", None, &[], &none()).unwrap();
    assert_eq!(outcome(&mut spawned.report), ExecOutcome::Runs);
    assert!(matches!(
        wait(spawned.pid),
        nix::sys::wait::WaitStatus::Exited(_, 0)
    ));
}

#[test]
fn a_real_child_runs_with_its_variables_streams_and_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let script = "echo $NAME $LISTEN_FDS $LISTEN_FDNAMES; test $LISTEN_PID = $$ && read x <&3 && echo $x; umask; pwd";
    let mut plan = plan("/bin/sh", &["-c", script]);
    let input = folder.path().join("in");
    std::fs::write(&input, "handed over\n").unwrap();
    plan.environment.insert("NAME".into(), "value".into());
    plan.umask = 0o027;
    plan.fds.listen = vec![ListenFd {
        name: "input".into(),
        fd: FdSlot(0),
    }];
    plan.stdio.output = Output::File {
        path: out.to_str().unwrap().into(),
        mode: FileMode::Truncate,
    };
    plan.stdio.error = Output::Null;
    let fds = [sys::clone::lift(File::open(input).unwrap().into()).unwrap()];
    let mut spawned = spawn(&plan, "a.service", None, &fds, &none()).unwrap();
    assert_eq!(outcome(&mut spawned.report), ExecOutcome::Runs);
    assert!(matches!(
        wait(spawned.pid),
        nix::sys::wait::WaitStatus::Exited(_, 0)
    ));
    assert_eq!(
        std::fs::read_to_string(out).unwrap(),
        "value 1 input\nhanded over\n0027\n/\n"
    );
}

#[test]
fn a_missing_program_is_told_with_its_name() {
    let mut spawned = spawn(
        &plan("/nowhere/at-all", &[]),
        "a.service",
        None,
        &[],
        &none(),
    )
    .unwrap();
    let ExecOutcome::Failed(message) = outcome(&mut spawned.report) else {
        panic!("it ran")
    };
    assert!(
        message.starts_with("/nowhere/at-all: execution: No such file"),
        "{message}"
    );
    assert!(matches!(
        wait(spawned.pid),
        nix::sys::wait::WaitStatus::Exited(_, 203)
    ));
}

mod confined;
mod handed;
