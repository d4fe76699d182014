//! Plans of hostile clients.

use super::*;

fn plan() -> ExecPlan {
    ExecPlan {
        program: "/bin/true".into(),
        argv: vec!["true".into()],
        cgroup: Cgroup {
            path: "task.slice/a.service".into(),
            ..Cgroup::default()
        },
        ..ExecPlan::default()
    }
}

fn call_list(name: &str, action: Option<CallAction>) -> CallList {
    CallList {
        allow: false,
        words: vec![CallWord {
            name: name.into(),
            inverted: true,
            action,
        }],
    }
}

fn disk(path: &str, file: &str, value: &str) -> DeviceSetting {
    DeviceSetting {
        path: path.into(),
        file: file.into(),
        value: value.into(),
        hint: false,
    }
}

#[test]
fn a_plain_plan_passes() {
    assert_eq!(plan().check(0), Ok(()));
}

#[test]
fn each_hostile_field_is_refused_by_name() {
    type Spoil = fn(&mut ExecPlan);
    let cases: [(&str, Spoil); 38] = [
        ("program", |plan| plan.program = "true".into()),
        ("program", |plan| plan.program = "/bin/../true".into()),
        ("argv", |plan| plan.argv.clear()),
        ("argv", |plan| plan.argv = vec!["a\0b".into()]),
        ("environment", |plan| {
            drop(plan.environment.insert("A=B".into(), String::new()))
        }),
        ("cgroup.path", |plan| {
            plan.cgroup.path = "../init.scope".into()
        }),
        ("cgroup.settings", |plan| {
            drop(
                plan.cgroup
                    .settings
                    .insert("cgroup.procs".into(), "1".into()),
            )
        }),
        ("stdio.identifier", |plan| {
            plan.stdio.identifier = "a\nb".into()
        }),
        ("fds", |plan| plan.fds.root = Some(FdSlot(0))),
        ("cgroup.hints", |plan| {
            drop(plan.cgroup.hints.insert("cgroup.kill".into(), "1".into()))
        }),
        ("fds.namespaces", |plan| {
            plan.fds.namespaces = vec![NamespaceFd {
                kind: Namespace::Pid,
                fd: FdSlot(0),
            }]
        }),
        ("umask", |plan| plan.umask = 0o7777),
        ("personality", |plan| plan.personality = Some(0x0040_0000)),
        ("seccomp.calls", |plan| {
            plan.seccomp.calls = Some(call_list("a\0b", None))
        }),
        ("seccomp.calls", |plan| {
            let beyond = Some(CallAction::Errno(4096));
            plan.seccomp.log = Some(call_list("read", beyond))
        }),
        ("seccomp.denied", |plan| {
            plan.seccomp.denied = CallAction::Errno(u16::MAX)
        }),
        ("seccomp.address_families", |plan| {
            plan.seccomp.address_families = Some(AddressFamilies {
                allow: true,
                families: vec![64],
            })
        }),
        ("seccomp.architectures", |plan| {
            plan.seccomp.architectures = Some(vec![Architecture::X86; 65])
        }),
        ("cgroup.subgroup", |plan| {
            plan.cgroup.subgroup = Some("../b.service".into())
        }),
        ("cgroup.subgroup", |plan| {
            plan.cgroup.subgroup = Some("cgroup.procs".into())
        }),
        ("cgroup.startup", |plan| {
            drop(
                plan.cgroup
                    .startup
                    .insert("cgroup.kill".into(), Default::default()),
            )
        }),
        ("cgroup.devices", |plan| {
            plan.cgroup.devices = vec![disk("/var/disk", "io.max", "rbps=1")]
        }),
        ("cgroup.devices", |plan| {
            plan.cgroup.devices = vec![disk("/dev/sda", "cgroup.procs", "1")]
        }),
        ("cgroup.devices", |plan| {
            plan.cgroup.devices = vec![disk("/dev/sda", "io.max", "rbps=1\n8:0 wbps=1")]
        }),
        ("capabilities.secure_bits", |plan| {
            plan.capabilities.secure_bits = 1 << 6
        }),
        ("keyring.invocation", |plan| {
            plan.keyring = Some(Keyring {
                invocation: Some("0".repeat(31)),
                ..Keyring::default()
            })
        }),
        ("scheduling.cpus", |plan| {
            plan.scheduling.cpus = [scheduling::MAX_CPUS].into()
        }),
        ("scheduling.cpu:", |plan| {
            plan.scheduling.cpu = Some(CpuScheduling {
                policy: 6,
                ..CpuScheduling::default()
            })
        }),
        ("scheduling.io", |plan| {
            plan.scheduling.io = Some(IoScheduling {
                class: 0,
                priority: 0,
            })
        }),
        ("scheduling.numa", |plan| {
            plan.scheduling.numa = Some(NumaPolicy {
                mode: NumaMode::Bind,
                nodes: NumaNodes::Some([u32::MAX].into()),
            })
        }),
        ("stdio.input", |plan| {
            plan.stdio.input = Input::Data(vec![0; stdio::MAX_DATA + 1])
        }),
        ("stdio.terminal", |plan| {
            plan.stdio.terminal = Some(Terminal::default())
        }),
        ("stdio.session_terminal", |plan| {
            plan.stdio.session_terminal = true
        }),
        ("mounts.idmapped", |plan| plan.mounts.idmapped = true),
        ("mounts.list", |plan| {
            plan.namespaces.users = Some(IdMaps::range(1 << 19, 65_536));
            plan.mounts.list = vec![Mount {
                target: "/dev".into(),
                content: Content::Devices,
                read_only: false,
                no_exec: false,
                missing_ok: false,
                idmapped: true,
            }]
        }),
        ("credentials", |plan| {
            plan.namespaces.users = Some(IdMaps::range(1 << 19, 65_536));
            plan.credentials = Some(Credentials {
                uid: 65_536,
                gid: 0,
                groups: Vec::new(),
            })
        }),
        ("namespaces.users", |plan| {
            plan.namespaces.users = Some(IdMaps::range(1 << 19, 65_536));
            plan.fds.namespaces = vec![NamespaceFd {
                kind: Namespace::User,
                fd: FdSlot(0),
            }]
        }),
        ("cgroup.delegate", |plan| {
            plan.cgroup.delegate = true;
            plan.fds.namespaces = vec![NamespaceFd {
                kind: Namespace::User,
                fd: FdSlot(0),
            }]
        }),
    ];
    for (field, spoil) in cases {
        let mut plan = plan();
        spoil(&mut plan);
        let message = plan.check(0).expect_err(field);
        assert!(message.starts_with(field), "{field}: {message}");
    }
}

#[test]
fn slots_within_the_handed_over_descriptors_pass() {
    let mut plan = plan();
    plan.fds.root = Some(FdSlot(0));
    plan.stdio.output = Output::Fd(FdSlot(1));
    assert_eq!(plan.check(2), Ok(()));
    assert!(plan.check(1).is_err());
}

#[test]
fn the_node_knows_a_child_by_the_number_that_its_own_has_outside() {
    let mut plan = plan();
    assert_eq!(plan.owner(), None, "root");
    plan.credentials = Some(Credentials {
        uid: 7,
        gid: 8,
        groups: Vec::new(),
    });
    assert_eq!(plan.owner(), Some((7, 8)));
    plan.namespaces.users = Some(IdMaps::range(1 << 19, 65_536));
    assert_eq!(plan.owner(), Some((524_295, 524_296)));
    plan.credentials = None;
    assert_eq!(plan.owner(), Some((524_288, 524_288)));
    assert_eq!(plan.check(0), Ok(()));
}

#[test]
fn what_root_would_do_for_a_client_that_may_not_is_refused_by_name() {
    type Spoil = fn(&mut ExecPlan);
    let bind = |target: &str| Mount {
        target: target.into(),
        content: Content::Tmpfs {
            options: String::new(),
        },
        read_only: false,
        no_exec: false,
        missing_ok: false,
        idmapped: false,
    };
    let mut plain = plan();
    plain.mounts.list = vec![bind("/tmp")];
    plain.namespaces.network = Sharing::Own;
    plain.stdio.input = Input::Fd(FdSlot(0));
    assert_eq!(plain.check_confined(), Ok(()));
    plain.mounts.list = vec![bind("/run/bedplate/roles/master")];
    let message = plain.check_confined().unwrap_err();
    assert!(message.contains("/run/bedplate/roles/master"), "{message}");

    let cases: [(&str, Spoil); 14] = [
        ("credentials", |plan| {
            plan.credentials = Some(Credentials {
                uid: 0,
                gid: 0,
                groups: Vec::new(),
            })
        }),
        ("namespaces.users", |plan| {
            plan.namespaces.users = Some(IdMaps::range(0, 65_536))
        }),
        ("capabilities", |plan| plan.capabilities.ambient.0 = 1),
        ("oom_score_adjust", |plan| plan.oom_score_adjust = Some(-1)),
        ("nice", |plan| plan.nice = Some(-1)),
        ("scheduling.io", |plan| {
            plan.scheduling.io = Some(IoScheduling {
                class: 1,
                priority: 0,
            })
        }),
        ("rlimits", |plan| {
            plan.rlimits = vec![Rlimit {
                resource: Resource::Rtprio,
                soft: 99,
                hard: 99,
            }]
        }),
        ("directories", |plan| {
            plan.directories = vec![Directory {
                path: "/etc".into(),
                ..Directory::default()
            }]
        }),
        ("namespaces.network", |plan| {
            plan.namespaces.network = Sharing::At("/proc/1/ns/net".into())
        }),
        ("cgroup", |plan| {
            drop(plan.cgroup.hints.insert("memory.min".into(), "1G".into()))
        }),
        ("fds.root", |plan| plan.fds.root = Some(FdSlot(0))),
        ("stdio.input", |plan| {
            plan.stdio.input = Input::File("/var/lib/bedplate/trust/key.pem".into())
        }),
        ("stdio.error", |plan| {
            plan.stdio.error = Output::File {
                path: "/etc/passwd".into(),
                mode: FileMode::Append,
            }
        }),
        ("mounts.list: /tmp", |plan| {
            plan.mounts.list = vec![Mount {
                target: "/tmp".into(),
                content: Content::Bind {
                    source: "/var/lib/bedplate".into(),
                    recursive: true,
                },
                read_only: true,
                no_exec: false,
                missing_ok: false,
                idmapped: false,
            }]
        }),
    ];
    for (field, spoil) in cases {
        let mut plan = plan();
        spoil(&mut plan);
        let message = plan.check_confined().expect_err(field);
        assert!(message.starts_with(field), "{field}: {message}");
    }
}
