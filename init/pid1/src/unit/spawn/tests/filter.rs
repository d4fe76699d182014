//! Filters of system calls on real children. no_new_privs makes them possible for any user.

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use spec_unit::plan::{
    AddressFamilies, Architecture, CallAction, CallList, CallWord, FilterPrivilege, Seccomp,
};

use super::*;

fn calls(allow: bool, words: &[&str]) -> Option<CallList> {
    let word = |name: &&str| CallWord {
        name: (*name).into(),
        inverted: !allow,
        action: None,
    };
    Some(CallList {
        allow,
        words: words.iter().map(word).collect(),
    })
}

fn filtered(script: &str, seccomp: Seccomp) -> ExecPlan {
    ExecPlan {
        seccomp,
        no_new_privileges: true,
        ..plan("/bin/bash", &["-c", script])
    }
}

fn run(plan: &ExecPlan) -> WaitStatus {
    let mut spawned = spawn(plan, "a.service", None, &[], &none()).unwrap();
    assert_eq!(outcome(&mut spawned.report), ExecOutcome::Runs);
    wait(spawned.pid)
}

fn exits(script: &str, seccomp: Seccomp) -> Option<i32> {
    match run(&filtered(script, seccomp)) {
        WaitStatus::Exited(_, code) => Some(code),
        _ => None,
    }
}

#[test]
fn a_denied_call_fails_as_said_and_the_others_work() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new");
    let script = format!(
        "mkdir {0} 2>/dev/null && exit 1; touch {0} || exit 2",
        new.display()
    );
    let seccomp = Seccomp {
        calls: calls(false, &["mkdir", "mkdirat"]),
        denied: CallAction::Errno(1),
        ..Seccomp::default()
    };
    assert_eq!(exits(&script, seccomp), Some(0));
    assert!(new.is_file());
}

#[test]
fn a_denied_call_kills_by_default() {
    let seccomp = Seccomp {
        calls: calls(false, &["umask"]),
        ..Seccomp::default()
    };
    let status = run(&filtered("umask 077; exit 0", seccomp));
    assert!(
        matches!(status, WaitStatus::Signaled(_, Signal::SIGSYS, _)),
        "{status:?}"
    );
}

#[test]
fn a_list_for_services_lets_a_shell_run() {
    let seccomp = Seccomp {
        calls: calls(true, &["@default", "@system-service"]),
        architectures: Some(vec![Architecture::Native]),
        memory_deny_write_execute: true,
        lock_personality: true,
        realtime: true,
        suid_sgid: true,
        namespaces: Some(vec![]),
        ..Seccomp::default()
    };
    assert_eq!(exits("ls / >/dev/null", seccomp), Some(0));
}

#[test]
fn sockets_of_other_families_are_not_made() {
    let seccomp = |allow, family| Seccomp {
        address_families: Some(AddressFamilies {
            allow,
            families: vec![family],
        }),
        ..Seccomp::default()
    };
    let script = "exec 3<>/dev/udp/127.0.0.1/9";
    assert_eq!(exits(script, seccomp(true, 2)), Some(0));
    assert_eq!(exits(script, seccomp(true, 1)), Some(1));
    assert_eq!(exits(script, seccomp(false, 2)), Some(1));
}

#[test]
fn setuid_bits_and_namespaces_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let seccomp = Seccomp {
        suid_sgid: true,
        namespaces: Some(vec![]),
        ..Seccomp::default()
    };
    let script = format!(
        "chmod 0755 {0} || exit 1; chmod u+s {0} && exit 2; unshare -U true && exit 3; true",
        file.display()
    );
    assert_eq!(exits(&script, seccomp), Some(0));
}

#[test]
fn the_personality_is_set_and_stays() {
    let mut plan = filtered(
        "test $(uname -m) = $0 || exit 1; setarch linux64 true && exit 2; true",
        Seccomp {
            lock_personality: true,
            ..Seccomp::default()
        },
    );
    if cfg!(target_arch = "aarch64") {
        eprintln!("skipped: a machine may not have 32-bit personalities");
        return;
    }
    plan.argv.push("i686".into());
    plan.personality = Some(8);
    assert!(matches!(run(&plan), WaitStatus::Exited(_, 0)));
}

#[test]
fn a_program_that_is_missing_is_told_from_within_the_narrowest_filter() {
    let mut plan = filtered(
        "",
        Seccomp {
            calls: calls(true, &["@default"]),
            ..Seccomp::default()
        },
    );
    plan.program = "/nowhere/at-all".into();
    let mut spawned = spawn(&plan, "a.service", None, &[], &none()).unwrap();
    let ExecOutcome::Failed(message) = outcome(&mut spawned.report) else {
        panic!("it ran")
    };
    assert!(message.contains("execution: No such file"), "{message}");
    assert!(matches!(wait(spawned.pid), WaitStatus::Exited(_, 203)));
}

#[test]
fn without_privileges_a_filter_is_refused_with_its_exit_code() {
    if nix::unistd::geteuid().is_root() {
        eprintln!("skipped: root may load filters");
        return;
    }
    let mut plan = filtered(
        "",
        Seccomp {
            lock_personality: true,
            ..Seccomp::default()
        },
    );
    plan.no_new_privileges = false;
    let mut spawned = spawn(&plan, "a.service", None, &[], &none()).unwrap();
    let ExecOutcome::Failed(message) = outcome(&mut spawned.report) else {
        panic!("it ran")
    };
    assert!(message.contains("system call filter"), "{message}");
    assert!(matches!(wait(spawned.pid), WaitStatus::Exited(_, 228)));
}

fn of_user(seccomp: Seccomp) -> ExecPlan {
    let mut plan = plan("/bin/a", &[]);
    plan.credentials = Some(Credentials {
        uid: 65_534,
        gid: 65_534,
        groups: vec![],
    });
    plan.seccomp = seccomp;
    plan
}

#[test]
fn another_user_loads_the_filter_with_a_capability_that_exec_takes() {
    let plan = of_user(Seccomp {
        lock_personality: true,
        ..Seccomp::default()
    });
    let steps = steps(&plan, "a.service", &[], &none()).unwrap();
    let kept = Step::Capabilities {
        permitted: CapabilitySet::SYS_ADMIN.0,
        inheritable: 0,
    };
    assert!(steps.contains(&kept) && !steps.contains(&Step::NoNewPrivileges));
    let [
        ..,
        Step::CloseFrom(3),
        Step::Ready,
        Step::Filter(_),
        Step::Exec(_),
    ] = &steps[..]
    else {
        panic!("{steps:?}")
    };
    let narrow = of_user(Seccomp {
        calls: calls(true, &["@default"]),
        ..Seccomp::default()
    });
    assert_eq!(narrow.filter_privilege(), FilterPrivilege::NoNewPrivileges);
    let steps = super::steps(&narrow, "a.service", &[], &none()).unwrap();
    assert!(steps.contains(&Step::NoNewPrivileges) && !steps.contains(&kept));
}

#[test]
fn another_user_is_left_with_the_filter_and_no_capability() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root becomes another user");
        return;
    }
    let script = "while read name value; do case $name in NoNewPrivs:) nnp=$value ;; Seccomp:) mode=$value ;; \
                  CapPrm:|CapEff:|CapInh:|CapAmb:) (( 16#$value == 0 )) || exit 1 ;; esac; done </proc/self/status; \
                  (( nnp == 0 && mode == 2 ))";
    let mut plan = of_user(Seccomp {
        lock_personality: true,
        ..Seccomp::default()
    });
    plan.program = "/bin/bash".into();
    plan.argv = ["bash", "-c", script].map(String::from).into();
    assert!(matches!(run(&plan), WaitStatus::Exited(_, 0)));
}
