//! Properties of a process and its streams: the order of their steps, and real children that look at themselves.
//! What needs a privilege that is not there, or a kernel that has it, says so and is left out.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;

use nix::sys::wait::WaitStatus;
use spec_unit::plan::fd::OpenedHow;
use spec_unit::plan::{
    CpuScheduling, Input, IoScheduling, Keyring, NumaMode, NumaNodes, NumaPolicy, OpenedFile,
    Scheduling, Taken, Terminal,
};

use super::*;

/// Runs a script of a plan that may still be changed; what it writes.
fn told(script: &str, change: impl FnOnce(&mut ExecPlan)) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut plan = plan("/bin/bash", &["-c", script]);
    plan.environment
        .insert("PATH".into(), "/usr/bin:/bin".into());
    plan.stdio.output = Output::File {
        path: out.to_str().unwrap().into(),
        mode: FileMode::Truncate,
    };
    change(&mut plan);
    let mut spawned = spawn(&plan, "a.service", None, &[], &none()).unwrap();
    let outcome = outcome(&mut spawned.report);
    let ended = wait(spawned.pid);
    match outcome {
        ExecOutcome::Failed(message) => Err(format!("{message}: {ended:?}")),
        _ => Ok(fs::read_to_string(out).unwrap()),
    }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

#[test]
fn all_that_root_may_is_done_before_the_user_changes() {
    let mut plan = plan("/bin/a", &[]);
    plan.scheduling = Scheduling {
        cpu: Some(CpuScheduling::default()),
        cpus: [0].into(),
        numa: Some(NumaPolicy {
            mode: NumaMode::Local,
            nodes: NumaNodes::All,
        }),
        io: Some(IoScheduling {
            class: 3,
            priority: 4,
        }),
        timer_slack_ns: Some(1),
        coredump_filter: Some(0x33),
    };
    plan.nice = Some(1);
    plan.keyring = Some(Keyring::default());
    plan.stdio.input = Input::Data(vec![1]);
    plan.stdio.terminal = Some(Terminal {
        path: "/dev/tty1".into(),
        ..Terminal::default()
    });
    plan.credentials = Some(Credentials {
        uid: 1,
        gid: 1,
        groups: vec![],
    });
    plan.capabilities.secure_bits = 1;
    plan.no_new_privileges = true;
    let mut recorder = Recorder::default();
    perform(
        &mut recorder,
        &mut steps(&plan, "a.service", &[], &none()).unwrap(),
    )
    .unwrap();
    let expected = [
        "signals",
        "session",
        "CoredumpFilter",
        "CPUSchedulingPolicy",
        "Nice",
        "CPUAffinity",
        "NUMAPolicy",
        "IOSchedulingClass",
        "TimerSlackNSec",
        "terminal",
        "standard input",
        "standard output",
        "file descriptors",
        "KeyringMode",
        "UMask",
        "limits",
        "groups",
        "groups",
        "user",
        "capabilities",
        "WorkingDirectory",
        "SecureBits",
        "NoNewPrivileges",
        "file descriptors",
        "report",
        "execution",
    ];
    assert_eq!(recorder.names, expected);
}

#[test]
fn a_child_is_scheduled_as_its_plan_says() {
    let script = "read -a stat < /proc/self/stat; echo ${stat[40]} ${stat[18]}
        cat /proc/self/timerslack_ns /proc/self/coredump_filter
        while read -r name value; do [[ $name == Cpus_allowed_list: ]] && echo $value; done < /proc/self/status
        ionice -p $$";
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let cpus = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = cpus.unwrap().trim().split(['-', ',']).next().unwrap();
    let out = told(script, |plan| {
        plan.scheduling = Scheduling {
            cpu: Some(CpuScheduling {
                policy: 3,
                priority: 0,
                reset_on_fork: false,
            }),
            cpus: [first.parse().unwrap(), 8191].into(),
            io: Some(IoScheduling {
                class: 2,
                priority: 6,
            }),
            timer_slack_ns: Some(123_456),
            coredump_filter: Some(0x1ff),
            numa: None,
        };
        plan.nice = Some(3);
    });
    let expected = format!("3 3\n123456\n000001ff\n{first}\nbest-effort: prio 6\n");
    assert_eq!(out.unwrap(), expected);
}

#[test]
fn a_real_time_policy_is_left_to_children_or_not() {
    let script = "read -a stat < /proc/self/stat; echo ${stat[39]} ${stat[40]}
        (read -a stat < /proc/self/stat; echo ${stat[39]} ${stat[40]})";
    let fifo = |reset_on_fork| {
        told(script, |plan| {
            plan.scheduling.cpu = Some(CpuScheduling {
                policy: 1,
                priority: 7,
                reset_on_fork,
            })
        })
    };
    match fifo(true) {
        Err(message) if message.contains("Operation not permitted") => {
            eprintln!("skipped: {message}")
        }
        out => {
            assert_eq!(out.unwrap(), "7 1\n0 0\n");
            assert_eq!(fifo(false).unwrap(), "7 1\n7 1\n");
        }
    }
}

#[test]
fn memory_comes_from_where_the_plan_says() {
    let script = "while read -r _ policy _; do echo $policy; break; done < /proc/self/numa_maps";
    let numa = |mode, nodes| {
        told(script, |plan| {
            plan.scheduling.numa = Some(NumaPolicy { mode, nodes })
        })
    };
    if !Path::new("/proc/self/numa_maps").exists() {
        return eprintln!("skipped: a kernel without NUMA");
    }
    match numa(NumaMode::Bind, NumaNodes::Some([0].into())) {
        Err(message) if message.contains("Operation not permitted") => {
            eprintln!("skipped: {message}")
        }
        out => {
            assert_eq!(out.unwrap(), "bind:0\n");
            let out = numa(NumaMode::Interleave, NumaNodes::All).unwrap();
            assert!(out.starts_with("interleave:0"), "{out}");
            let out = numa(NumaMode::Default, NumaNodes::Some([0].into()));
            assert_eq!(out.unwrap(), "default\n");
        }
    }
}

#[test]
fn what_the_kernel_refuses_is_told_with_systemds_exit_code() {
    let policy = |plan: &mut ExecPlan| {
        plan.scheduling.cpu = Some(CpuScheduling {
            policy: 0,
            priority: 50,
            reset_on_fork: false,
        })
    };
    let failed = told("true", policy).unwrap_err();
    assert!(
        failed.contains("CPUSchedulingPolicy") && failed.contains(", 214)"),
        "{failed}"
    );
    let failed = told("true", |plan| plan.scheduling.cpus = [8191].into()).unwrap_err();
    assert!(
        failed.contains("CPUAffinity") && failed.contains(", 215)"),
        "{failed}"
    );
}

#[test]
fn data_is_read_and_cannot_be_written() {
    let mut bytes = vec![b'x'; 200_000];
    bytes.extend(b"\nend\n");
    let script = "wc -c; echo >&0 && echo written; echo > /proc/self/fd/0 && echo reopened; true";
    let out = told(script, |plan| {
        plan.stdio.error = Output::Null;
        plan.stdio.input = Input::Data(bytes);
    });
    assert_eq!(out.unwrap(), "200005\n");
    let out = told("cat; echo $?", |plan| {
        plan.stdio.input = Input::Data(vec![])
    });
    assert_eq!(out.unwrap(), "0\n");
}

const CAPABILITIES: &str = "while read -r name value; do
    [[ $name == Cap@(Prm|Eff|Amb): ]] && echo $((16#$value)); done < /proc/self/status";

#[test]
fn secure_bits_take_the_rights_from_root_but_those_that_are_ambient() {
    if !is_root() {
        return;
    }
    let noroot = |ambient: u64, uid: u32| {
        told(CAPABILITIES, |plan| {
            plan.capabilities.secure_bits = 0b11;
            plan.capabilities.ambient = CapabilitySet(ambient);
            plan.credentials = (uid != 0).then(|| Credentials {
                uid,
                gid: 65534,
                groups: vec![],
            });
        })
    };
    for uid in [0, 65534] {
        assert_eq!(noroot(0, uid).unwrap(), "0\n0\n0\n");
        assert_eq!(noroot(1 << 10, uid).unwrap(), "1024\n1024\n1024\n");
    }
    let bits = told("setpriv -d; true", |plan| {
        plan.capabilities.secure_bits = 0b1100;
        plan.credentials = Some(Credentials {
            uid: 65534,
            gid: 65534,
            groups: vec![],
        });
    });
    let bits = bits.unwrap();
    assert!(
        bits.contains("Securebits: no_setuid_fixup,no_setuid_fixup_locked"),
        "{bits}"
    );
}

#[test]
fn a_session_keyring_holds_the_invocation() {
    if !is_root() || !Path::new("/proc/keys").exists() {
        return eprintln!("skipped: needs root and a kernel with keyrings");
    }
    let keys = |uid, shared| {
        told("cat /proc/keys", |plan| {
            plan.keyring = Some(Keyring {
                uid,
                gid: uid,
                shared,
                invocation: Some("0123456789abcdef0123456789abcdef".into()),
            });
            plan.credentials = Some(Credentials {
                uid,
                gid: uid,
                groups: vec![],
            });
        })
        .unwrap()
    };
    let private = keys(65533, false);
    if !private.contains("_ses") {
        return eprintln!("skipped: this kernel gives no keyring here");
    }
    let mine = |line: &&str| line.contains("invocation_id: 16");
    let invocation = private.lines().find(mine).expect(&private);
    assert!(invocation.contains("0b0b0000"), "{invocation}");
    // How many keys are in the session keyring: a user keyring, once made, is seen by its user in any case.
    assert!(private.contains("_ses: 1\n"), "{private}");
    let shared = keys(65533, true);
    assert!(
        shared.contains("_ses: 2\n") && shared.contains("_uid.65533"),
        "{shared}"
    );
}

#[test]
fn an_idle_program_runs_once_it_may() {
    let idle = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let plan = plan("/bin/true", &[]);
    let start = || spawn_after(&plan, "a.service", None, &[], &none(), &[idle.as_fd()]).unwrap();
    let mut waits = [start(), start()];
    std::thread::sleep(std::time::Duration::from_millis(50));
    for spawned in &mut waits {
        assert_eq!(spawned.report.outcome(), ExecOutcome::Pending);
    }
    rustix::io::write(&idle, &1u64.to_ne_bytes()).unwrap();
    for mut spawned in waits {
        assert_eq!(outcome(&mut spawned.report), ExecOutcome::Runs);
        assert!(matches!(wait(spawned.pid), WaitStatus::Exited(_, 0)));
    }
    let waits = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let spawned = spawn_after(&plan, "a.service", None, &[], &none(), &[waits.as_fd()]).unwrap();
    assert!(crate::sys::signal::send(spawned.pid, libc::SIGTERM));
    let ended = wait(spawned.pid);
    assert!(
        matches!(ended, WaitStatus::Signaled(_, _, _)),
        "it can be stopped: {ended:?}"
    );
}

#[test]
fn a_terminal_is_made_ready_and_belongs_to_one_session() {
    let pty = nix::pty::openpty(None, None).unwrap();
    let path = nix::unistd::ttyname(&pty.slave).unwrap();
    let path = path.to_str().unwrap();
    let mut modes = nix::sys::termios::tcgetattr(&pty.slave).unwrap();
    nix::sys::termios::cfmakeraw(&mut modes);
    nix::sys::termios::tcsetattr(&pty.slave, nix::sys::termios::SetArg::TCSANOW, &modes).unwrap();
    let on_tty = |taken| {
        move |plan: &mut ExecPlan| {
            plan.stdio.input = Input::Tty {
                path: path.into(),
                taken,
            };
            plan.stdio.terminal = Some(Terminal {
                path: path.into(),
                reset: true,
                disallocate: true,
                rows: 12,
                columns: 34,
                hang_up: false,
            });
        }
    };
    let script =
        "stty size; stty -a | tr ' ' '\\n' | grep -x icanon; tty; echo mine > /dev/tty; true";
    let out = told(script, on_tty(Taken::Fail)).unwrap();
    assert_eq!(out, format!("12 34\nicanon\n{path}\n"));
    // Another session has it.
    let mut holder = plan("/bin/sleep", &["1000"]);
    on_tty(Taken::Share)(&mut holder);
    holder.stdio.output = Output::Null;
    let mut holder = spawn(&holder, "a.service", None, &[], &none()).unwrap();
    assert_eq!(outcome(&mut holder.report), ExecOutcome::Runs);
    let failed = told("true", on_tty(Taken::Fail)).unwrap_err();
    assert!(
        failed.contains("standard input") && failed.contains(", 208)"),
        "{failed}"
    );
    assert_eq!(
        told("echo shared", on_tty(Taken::Share)).unwrap(),
        "shared\n"
    );
    if is_root() {
        let forced = told("echo own > /dev/tty; echo $?", on_tty(Taken::Force));
        assert_eq!(forced.unwrap(), "0\n");
    }
    assert!(crate::sys::signal::send(holder.pid, libc::SIGKILL));
    wait(holder.pid);
}

#[test]
fn files_and_sockets_are_handed_over_open_and_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    fs::write(at("file"), "first\n").unwrap();
    let socket = std::os::unix::net::UnixDatagram::bind(at("socket")).unwrap();
    let opened = |name: &str, how| OpenedFile {
        name: name.into(),
        path: at(name),
        how,
        missing_ok: false,
    };
    let script =
        "echo $LISTEN_FDS $LISTEN_FDNAMES; read line <&3; echo $line; echo second >&3; echo to >&4";
    let told = told(script, |plan| {
        plan.fds.opened = vec![
            opened("file", OpenedHow::Append),
            opened("socket", OpenedHow::ReadWrite),
        ];
    });
    assert_eq!(told, Ok("2 file:socket\nfirst\n".into()));
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "first\nsecond\n");
    let mut buffer = [0; 8];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"to\n");
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let told = told("true", |plan| {
        plan.fds.opened = vec![OpenedFile {
            name: "a".into(),
            path: "/no/such/file".into(),
            how: OpenedHow::ReadOnly,
            missing_ok: false,
        }];
    });
    let message = told.unwrap_err();
    assert!(
        message.contains("OpenFile /no/such/file: No such file"),
        "{message}"
    );
    assert!(message.contains("202"), "{message}");
}

#[test]
fn each_kind_of_folder_fails_with_a_code_of_its_own() {
    use spec_unit::plan::DirectoryKind;
    for (kind, name, code) in [
        (DirectoryKind::Runtime, "RuntimeDirectory", 233),
        (DirectoryKind::State, "StateDirectory", 238),
        (DirectoryKind::Cache, "CacheDirectory", 239),
        (DirectoryKind::Logs, "LogsDirectory", 240),
        (DirectoryKind::Configuration, "ConfigurationDirectory", 241),
    ] {
        let told = told("true", |plan| {
            plan.directories = vec![Directory {
                kind,
                path: "/dev/null/a".into(),
                mode: 0o755,
                ..Directory::default()
            }];
        });
        let message = told.unwrap_err();
        assert!(message.contains(&format!("{name} /dev/null")), "{message}");
        assert!(message.contains(&format!("{code})")), "{message}");
    }
}
