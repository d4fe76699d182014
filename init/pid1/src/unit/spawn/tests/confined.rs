//! Real children behind real walls: what they see from inside. They need root, and say so where it is missing.

use spec_unit::plan::credential::{Credential, CredentialFolder, CredentialSource};
use spec_unit::plan::{Content, IdMaps, IdRange, Mount, Sharing};

use super::*;

/// Whether this process may make namespaces.
pub(super) fn may() -> bool {
    let may = caps::has_cap(
        None,
        caps::CapSet::Effective,
        caps::Capability::CAP_SYS_ADMIN,
    );
    let may = may.unwrap_or(false) && rustix::process::geteuid().is_root();
    if !may {
        println!("Skipped: it takes CAP_SYS_ADMIN to make a namespace");
    }
    may
}

fn shell(script: &str) -> ExecPlan {
    let mut plan = plan("/bin/sh", &["-ec", script]);
    plan.stdio.error = Output::Null;
    plan
}

/// Runs a plan to its end: its exit code, or what it failed with.
fn run(plan: &ExecPlan) -> Result<i32, String> {
    run_with(plan, &mut none())
}

fn run_with(plan: &ExecPlan, shared: &mut UnitNamespaces) -> Result<i32, String> {
    assert_eq!(plan.check(0), Ok(()));
    let mut spawned = spawn(plan, "a.service", None, &[], shared).unwrap();
    let outcome = outcome(&mut spawned.report);
    for (kind, fd) in spawned.report.namespaces.drain(..) {
        shared.keep(kind, fd);
    }
    match (outcome, wait(spawned.pid)) {
        (ExecOutcome::Failed(message), _) => Err(message),
        (_, nix::sys::wait::WaitStatus::Exited(_, code)) => Ok(code),
        (_, other) => Err(format!("{other:?}")),
    }
}

pub(super) fn mount(target: &str, content: Content) -> Mount {
    Mount {
        target: target.into(),
        content,
        read_only: false,
        no_exec: false,
        missing_ok: false,
        idmapped: false,
    }
}

fn read_only(target: &str) -> Mount {
    Mount {
        read_only: true,
        ..mount(target, Content::Same)
    }
}

#[test]
fn what_is_read_only_has_a_part_that_is_not() {
    if !may() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    std::fs::create_dir_all(folder.path().join("open/closed")).unwrap();
    let script = format!(
        "! touch {path}/a; touch {path}/open/b; ! touch {path}/open/closed/c; test -w /dev/null; ! touch /var/x"
    );
    let mut plan = shell(&script);
    let mut list = vec![
        read_only("/"),
        mount("/dev", Content::Same),
        mount(&format!("{path}/open"), Content::Same),
        read_only(&format!("{path}/open/closed")),
    ];
    list.sort_by(|left, right| left.target.cmp(&right.target));
    plan.mounts.list = list;
    assert_eq!(run(&plan), Ok(0));
    assert!(folder.path().join("open/b").exists());
    assert!(
        std::fs::write(folder.path().join("a"), "").is_ok(),
        "outside all is as it was"
    );
}

#[test]
fn a_bind_is_seen_in_a_new_file_system_that_is_closed() {
    if !may() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    std::fs::create_dir_all(folder.path().join("over/old")).unwrap();
    std::fs::write(folder.path().join("file"), "text").unwrap();
    let script = format!(
        "cd {path}/over; test ! -e old; test \"$(cat deep/file)\" = text; ! touch new; echo more >deep/file"
    );
    let mut plan = shell(&script);
    let options = "mode=0755,size=1M".into();
    let over = mount(&format!("{path}/over"), Content::Tmpfs { options });
    let bind = Content::Bind {
        source: format!("{path}/file"),
        recursive: true,
    };
    plan.mounts.list = vec![
        Mount {
            read_only: true,
            ..over
        },
        mount(&format!("{path}/over/deep/file"), bind),
    ];
    assert_eq!(run(&plan), Ok(0));
    assert_eq!(
        std::fs::read_to_string(folder.path().join("file")).unwrap(),
        "more\n"
    );
}

#[test]
fn what_may_be_missing_is_passed_over_and_what_may_not_is_told() {
    if !may() {
        return;
    }
    let mut plan = shell("true");
    plan.mounts.list = vec![Mount {
        missing_ok: true,
        ..read_only("/nowhere/at/all")
    }];
    assert_eq!(run(&plan), Ok(0));
    plan.mounts.list = vec![read_only("/nowhere/at/all")];
    let message = run(&plan).unwrap_err();
    assert!(
        message.contains("mounts /nowhere/at/all: No such file"),
        "{message}"
    );
}

#[test]
fn nothing_is_executed_where_it_is_forbidden() {
    if !may() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let script = format!("cp /bin/true {path}/true; ! {path}/true");
    let mut plan = shell(&script);
    plan.mounts.list = vec![Mount {
        no_exec: true,
        ..mount(path, Content::Same)
    }];
    assert_eq!(run(&plan), Ok(0));
}

#[test]
fn a_dev_of_its_own_has_the_harmless_devices() {
    if !may() {
        return;
    }
    let script = "echo x >/dev/null; head -c 8 /dev/urandom | wc -c >/dev/shm/../null; \
        test -c /dev/tty; test ! -e /dev/mem; test ! -e /dev/kmsg; test -L /dev/stdin; test -d /dev/pts";
    let mut plan = shell(script);
    plan.mounts.list = vec![mount("/dev", Content::Devices)];
    assert_eq!(run(&plan), Ok(0));
}

#[test]
fn a_dev_of_its_own_shows_the_devices_whose_nodes_it_may_not_make() {
    if !may() {
        return;
    }
    let script = "echo x >/dev/null; test -c /dev/zero; test -c /dev/tty; test ! -e /dev/mem; \
        test \"$(stat -c %t:%T /dev/urandom)\" = 1:9; test \"$(head -c 8 /dev/zero | wc -c)\" = 8";
    let mut plan = shell(script);
    plan.mounts.list = vec![mount("/dev", Content::Devices)];
    plan.cgroup.filters.devices = Some(Vec::new());
    // As the filter of a control group refuses it, for this test's own thread.
    let make = caps::Capability::CAP_MKNOD;
    caps::drop(None, caps::CapSet::Effective, make).unwrap();
    let outcome = run(&plan);
    caps::raise(None, caps::CapSet::Effective, make).unwrap();
    assert_eq!(outcome, Ok(0));
}

#[test]
fn another_root_is_all_there_is() {
    if !may() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let script = "test ! -e /work; test ! -e /root; cd /; test \"$(echo *)\" = \"bin lib lib64 proc run usr\"; test -e /proc/self";
    for name in ["run", "proc", "usr"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), folder.path().join(name)).unwrap();
    }
    let mut plan = shell(script);
    plan.mounts.root = Some(path.into());
    let bind = Content::Bind {
        source: "/usr".into(),
        recursive: true,
    };
    let proc = Content::Proc {
        hide: None,
        only_processes: false,
    };
    plan.mounts.list = vec![mount("/proc", proc), mount("/usr", bind)];
    assert_eq!(run(&plan), Ok(0));
}

#[test]
fn credentials_are_there_for_one_user_and_for_nobody_outside() {
    if !may() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials/a.service");
    let file = folder.path().join("secret");
    std::fs::write(&file, "loaded").unwrap();
    let at = path.to_str().unwrap();
    let script = format!(
        "cd {at}; test \"$(cat one)\" = loaded; test \"$(cat two)\" = given; test ! -e three; \
         ! touch x; test $(stat -c %a:%u one) = 400:100; test $(stat -c %a:%u .) = 500:100"
    );
    let mut plan = shell(&script);
    let text = |text: &str| CredentialSource::Text(text.as_bytes().to_vec());
    let files = |path: &str, missing_ok| CredentialSource::Files {
        paths: vec!["/nowhere".into(), path.into()],
        missing_ok,
    };
    let list = [
        ("one", files(file.to_str().unwrap(), false)),
        ("one", text("not this")),
        ("two", text("given")),
        ("three", files("/nowhere/either", true)),
    ];
    let list = list.map(|(name, source)| Credential {
        name: name.into(),
        source,
    });
    plan.mounts.credentials = Some(CredentialFolder {
        path: at.into(),
        uid: 100,
        list: list.into(),
    });
    assert_eq!(run(&plan), Ok(0));
    assert_eq!(
        std::fs::read_dir(&path).unwrap().count(),
        0,
        "an empty mount point"
    );
    let folder = plan.mounts.credentials.as_mut().unwrap();
    folder.list[3].source = files("/nowhere/either", false);
    assert!(run(&plan).unwrap_err().contains(": No such file"));
}

#[test]
fn the_processes_of_a_unit_share_its_network() {
    if !may() {
        return;
    }
    let script = "test \"$(readlink /proc/self/ns/net)\" != \"$OUTSIDE\"; \
        test $(wc -l </proc/net/dev) = 3; read address </proc/net/if_inet6";
    let mut plan = shell(script);
    let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
    plan.environment
        .insert("OUTSIDE".into(), outside.to_str().unwrap().into());
    plan.environment
        .insert("PATH".into(), "/usr/bin:/bin".into());
    plan.namespaces.network = Sharing::Own;
    let mut shared = none();
    assert_eq!(run_with(&plan, &mut shared), Ok(0));
    let first = shared.get(super::super::report::Shared::Network).unwrap();
    let link = std::fs::read_link(format!("/proc/self/fd/{first}")).unwrap();
    let mut plan = shell("test \"$(readlink /proc/self/ns/net)\" = \"$FIRST\"");
    plan.environment
        .insert("FIRST".into(), link.to_str().unwrap().into());
    plan.environment
        .insert("PATH".into(), "/usr/bin:/bin".into());
    plan.namespaces.network = Sharing::Own;
    assert_eq!(run_with(&plan, &mut shared), Ok(0));
}

#[test]
fn a_service_with_users_of_its_own_is_itself_and_all_others_are_nobody() {
    if !may() {
        return;
    }
    let one = |number| IdRange {
        inside: number,
        outside: number,
        count: 1,
    };
    let map = vec![one(0), one(100)];
    let mut plan = shell(
        "test $(id -u) = 100; test $(stat -c %u /proc/1) = 65534 || test $(stat -c %u /) = 0; \
         test \"$(readlink /proc/self/ns/user)\" != \"$OUTSIDE\"",
    );
    let outside = std::fs::read_link("/proc/self/ns/user").unwrap();
    plan.environment
        .insert("OUTSIDE".into(), outside.to_str().unwrap().into());
    plan.environment
        .insert("PATH".into(), "/usr/bin:/bin".into());
    plan.credentials = Some(Credentials {
        uid: 100,
        gid: 100,
        groups: vec![100],
    });
    plan.namespaces.users = Some(IdMaps {
        uid: map.clone(),
        gid: map,
    });
    assert_eq!(run(&plan), Ok(0));
}

#[test]
fn a_service_with_processes_of_its_own_is_number_1() {
    if !may() {
        return;
    }
    let mut plan = shell("test $$ = 1; set -- /proc/[0-9]*; test $# -le 2");
    let proc = Content::Proc {
        hide: None,
        only_processes: false,
    };
    plan.namespaces.processes = true;
    plan.mounts.list = vec![mount("/proc", proc)];
    assert_eq!(run(&plan), Ok(0));
}

#[test]
fn a_folder_follows_its_service_to_where_only_it_can_reach_it_and_back() {
    if !may() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let path = |name: &str| format!("{}/{name}", base.path().display());
    std::fs::create_dir_all(path("data/deep")).unwrap();
    std::fs::write(path("data/deep/file"), "kept").unwrap();
    let mut plan = shell("true");
    plan.directories = vec![Directory {
        path: path("private/data"),
        mode: 0o750,
        uid: 61_200,
        gid: 61_200,
        other: Some(path("data")),
        link: true,
        ..Directory::default()
    }];
    for _ in 0..2 {
        assert_eq!(run(&plan), Ok(0));
        let owner = |path: String| {
            use std::os::unix::fs::MetadataExt as _;
            let status = std::fs::symlink_metadata(path).unwrap();
            (status.uid(), status.mode() & 0o777)
        };
        assert_eq!(
            std::fs::read_to_string(path("data/deep/file")).unwrap(),
            "kept"
        );
        assert!(
            std::fs::symlink_metadata(path("data"))
                .unwrap()
                .is_symlink()
        );
        assert_eq!(owner(path("private")), (0, 0o700));
        assert_eq!(owner(path("private/data")), (61_200, 0o750));
        assert_eq!(owner(path("private/data/deep/file")).0, 61_200);
    }
    plan.directories = vec![Directory {
        path: path("data"),
        mode: 0o755,
        uid: 5,
        gid: 5,
        other: Some(path("private/data")),
        ..Directory::default()
    }];
    assert_eq!(run(&plan), Ok(0));
    assert!(std::fs::symlink_metadata(path("data")).unwrap().is_dir());
    assert_eq!(
        std::fs::read_to_string(path("data/deep/file")).unwrap(),
        "kept"
    );
}

#[test]
fn the_folder_of_a_service_is_not_made_through_a_link_of_somebody_else() {
    let base = tempfile::tempdir().unwrap();
    let path = |name: &str| format!("{}/{name}", base.path().display());
    std::fs::create_dir_all(path("theirs/data")).unwrap();
    std::os::unix::fs::symlink(path("theirs"), path("own")).unwrap();
    let mut plan = shell("true");
    let own = rustix::process::geteuid().as_raw();
    plan.directories = vec![Directory {
        path: path("own/data"),
        mode: 0o700,
        uid: own,
        gid: rustix::process::getegid().as_raw(),
        ..Directory::default()
    }];
    let message = run(&plan).unwrap_err();
    assert!(message.contains("own/data: Too many levels"), "{message}");
}

#[test]
fn a_child_that_ends_before_its_program_did_not_run() {
    let mut plan = plan("/bin/true", &[]);
    plan.rlimits = vec![Rlimit {
        resource: Resource::Fsize,
        soft: 0,
        hard: 0,
    }];
    assert_eq!(run(&plan), Ok(0), "a limit of its files does not end it");
    let (read, write) = sys::clone::pair(3).unwrap();
    drop(write);
    let mut report = ExecReport::again(read, "/bin/true".into(), false);
    let ExecOutcome::Failed(message) = report.outcome() else {
        panic!("it ran")
    };
    assert_eq!(message, "/bin/true: it ended before it could run");
}
