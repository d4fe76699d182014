//! Real children of plans that hand something over: a root, namespaces, a terminal. They need root, and say so where it
//! is missing.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::fs::{CWD, Mode};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsmount, fsopen,
    open_tree,
};
use spec_unit::plan::{Content, IdMaps, Input, Mount};

use super::confined::{may, mount};
use super::*;

/// The first task's numbers.
const FIRST: u32 = 1 << 19;

/// Runs a plan with descriptors to its end: its exit code, or what it failed with.
fn run(plan: &ExecPlan, fds: Vec<OwnedFd>) -> Result<i32, String> {
    assert_eq!(plan.check(fds.len()), Ok(()));
    let lifted = fds.into_iter().map(sys::clone::lift);
    let fds: Vec<OwnedFd> = lifted.collect::<io::Result<_>>().unwrap();
    let mut spawned = spawn(plan, "a.service", None, &fds, &none()).unwrap();
    drop(fds);
    match (outcome(&mut spawned.report), wait(spawned.pid)) {
        (ExecOutcome::Failed(message), _) => Err(message),
        (_, nix::sys::wait::WaitStatus::Exited(_, code)) => Ok(code),
        (_, other) => Err(format!("{other:?}")),
    }
}

/// A file system in memory that is mounted nowhere, with what a root needs and a file of root's.
fn detached() -> OwnedFd {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_create(context.as_fd()).unwrap();
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let root = fsmount(context.as_fd(), flags, MountAttrFlags::empty()).unwrap();
    for name in ["proc", "run", "usr", "dev"] {
        rustix::fs::mkdirat(&root, name, Mode::from_raw_mode(0o755)).unwrap();
    }
    for name in ["bin", "lib", "lib64"] {
        rustix::fs::symlinkat(format!("usr/{name}"), &root, name).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    rustix::fs::openat(&root, "file", flags, Mode::from_raw_mode(0o600)).unwrap();
    root
}

fn in_root(script: &str) -> ExecPlan {
    let mut plan = plan("/bin/sh", &["-ec", script]);
    plan.environment
        .insert("PATH".into(), "/usr/bin:/bin".into());
    plan.fds.root = Some(FdSlot(0));
    plan.namespaces.processes = true;
    let bind = Content::Bind {
        source: "/usr".into(),
        recursive: true,
    };
    let proc = Content::Proc {
        hide: None,
        only_processes: false,
    };
    plan.mounts.list = vec![
        mount("/dev", Content::Devices),
        mount("/proc", proc),
        mount("/usr", bind),
    ];
    plan
}

#[test]
fn a_root_that_is_handed_over_is_all_there_is() {
    if !may() {
        return;
    }
    let script = "cd /; test \"$(echo *)\" = \"bin dev file lib lib64 proc run usr\"; \
        test $$ = 1; test -c /dev/null; test ! -w /file/x; ! cat /file; ! touch /usr/x";
    let mut plan = in_root(script);
    plan.mounts.list.insert(
        1,
        Mount {
            missing_ok: true,
            ..mount("/file", Content::Inaccessible)
        },
    );
    // PID 1 makes these at boot.
    let nodes = [
        spec_layout::path::INACCESSIBLE_FOLDER,
        spec_layout::path::INACCESSIBLE_FILE,
    ];
    let there = nodes.iter().all(|path| std::path::Path::new(path).exists());
    if !there {
        plan.mounts.list.remove(1);
        plan.argv[2] = plan.argv[2].replace("! cat /file; ", "");
    }
    plan.mounts.list[if there { 3 } else { 2 }].read_only = true;
    assert_eq!(run(&plan, vec![detached()]), Ok(0));
}

#[test]
fn a_task_is_root_of_its_own_numbers_and_nobody_outside() {
    if !may() {
        return;
    }
    // The file is root's on the disk, and root's inside; what is made is the task's.
    let script = "test \"$(id -u):$(id -g)\" = 0:0; test $(stat -c %u:%g /file) = 0:0; \
        echo text >/file; touch /made; test $(stat -c %u /made) = 0; \
        read -r inside outside count </proc/self/uid_map; test $outside:$count = 524288:65536; \
        test $(stat -c %u /usr) = 65534; ! chown 0 /usr/bin";
    let mut plan = in_root(script);
    plan.namespaces.users = Some(IdMaps::range(FIRST, 65_536));
    plan.mounts.idmapped = true;
    let root = detached();
    let copy = root.try_clone().unwrap();
    assert_eq!(run(&plan, vec![root]), Ok(0));
    let at = rustix::fs::AtFlags::empty();
    let made = rustix::fs::statat(&copy, "made", at).unwrap();
    assert_eq!((made.st_uid, made.st_gid), (FIRST, FIRST));

    // Not mapped, all in it belongs to nobody.
    plan.argv[2] = "test $(stat -c %u /file) = 65534; ! cat /file".into();
    plan.mounts.idmapped = false;
    assert_eq!(run(&plan, vec![detached()]), Ok(0));
}

#[test]
fn a_task_runs_as_a_user_of_its_own_numbers() {
    if !may() {
        return;
    }
    let mut plan = in_root("test \"$(id -u):$(id -g):$(id -G)\" = 100:101:101; ! cat /file");
    plan.namespaces.users = Some(IdMaps::range(FIRST, 65_536));
    plan.mounts.idmapped = true;
    plan.no_new_privileges = true;
    plan.credentials = Some(Credentials {
        uid: 100,
        gid: 101,
        groups: vec![101],
    });
    assert_eq!(run(&plan, vec![detached()]), Ok(0));
}

#[test]
fn a_bind_is_shown_with_the_numbers_of_the_task() {
    if !may() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    std::fs::create_dir(&path).unwrap();
    let (tree, probe) = (path.to_str().unwrap(), in_root("true"));
    let mut plan = in_root("test $(stat -c %u /run) = 0; touch /run/made");
    plan.namespaces.users = Some(IdMaps::range(FIRST, 65_536));
    plan.mounts.idmapped = true;
    let bind = Content::Bind {
        source: tree.into(),
        recursive: false,
    };
    let place = plan.mounts.list.len() - 1;
    plan.mounts.list.insert(
        place,
        Mount {
            idmapped: true,
            ..mount("/run", bind)
        },
    );
    assert_eq!(run(&probe, vec![detached()]), Ok(0));
    match run(&plan, vec![detached()]) {
        Err(message) if message.contains("Invalid argument") => {
            println!("Skipped: the file system of the temporary folder cannot be idmapped");
        }
        done => {
            assert_eq!(done, Ok(0));
            use std::os::unix::fs::MetadataExt as _;
            let made = std::fs::metadata(path.join("made")).unwrap();
            assert_eq!((made.uid(), made.gid()), (0, 0));
        }
    }
}

#[test]
fn what_a_task_mounts_in_a_copy_of_a_shared_folder_is_not_seen_outside() {
    if !may() {
        return;
    }
    // A mount namespace of this thread's own would not be the child's: the folder is private here, and made shared.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root");
    std::fs::create_dir(&path).unwrap();
    let none = None::<&str>;
    use nix::mount::{MntFlags, MsFlags, mount as mount_at, umount2};
    mount_at(Some(&path), &path, none, MsFlags::MS_BIND, none).unwrap();
    mount_at(none, &path, none, MsFlags::MS_SHARED, none).unwrap();
    for name in ["proc", "run", "usr", "dev"] {
        std::fs::create_dir(path.join(name)).unwrap();
    }
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), path.join(name)).unwrap();
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let root = open_tree(CWD, &path, flags).unwrap();
    let script = format!("test -e /proc/1; test ! -e {}", path.display());
    let seen = || {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let inner = format!("{}/", path.display());
        table.lines().filter(|line| line.contains(&inner)).count()
    };
    let mut plan = in_root(&format!("{script}; sleep 0.3"));
    plan.stdio.error = Output::Null;
    let lifted = vec![sys::clone::lift(root).unwrap()];
    let mut spawned = spawn(&plan, "a.service", None, &lifted, &super::none()).unwrap();
    let outcome = outcome(&mut spawned.report);
    let during = seen();
    let ended = wait(spawned.pid);
    umount2(&path, MntFlags::MNT_DETACH).unwrap();
    assert_eq!(outcome, ExecOutcome::Runs);
    assert_eq!(during, 0);
    let fine = matches!(ended, nix::sys::wait::WaitStatus::Exited(_, 0));
    assert!(fine, "{ended:?}");
}

#[test]
fn what_is_mounted_already_is_no_root() {
    if !may() {
        return;
    }
    let root = rustix::fs::open("/usr", rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    let message = run(&in_root("true"), vec![root]).unwrap_err();
    assert!(message.contains("root folder: "), "{message}");
}

#[test]
fn a_network_that_is_handed_over_is_entered() {
    if !may() {
        return;
    }
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let own = File::open("/proc/thread-self/ns/net").unwrap();
        tell.send(own).unwrap();
    });
    let network = told.recv().unwrap();
    let link = std::fs::read_link(format!("/proc/self/fd/{}", network.as_raw_fd())).unwrap();
    let mut plan = plan(
        "/bin/sh",
        &["-ec", "test \"$(readlink /proc/self/ns/net)\" = \"$NET\""],
    );
    plan.environment
        .insert("PATH".into(), "/usr/bin:/bin".into());
    plan.environment
        .insert("NET".into(), link.to_str().unwrap().into());
    plan.fds.namespaces = vec![NamespaceFd {
        kind: Namespace::Network,
        fd: FdSlot(0),
    }];
    assert_eq!(run(&plan, vec![network.into()]), Ok(0));
}

#[test]
fn a_terminal_that_is_handed_over_is_the_sessions() {
    let pty = nix::pty::openpty(None, None).unwrap();
    let mut plan = plan(
        "/bin/sh",
        &["-ec", "test -t 0; exec 3<>/dev/tty; echo seen >&3"],
    );
    plan.stdio.input = Input::Fd(FdSlot(0));
    plan.stdio.output = Output::Inherit;
    plan.stdio.error = Output::Inherit;
    plan.stdio.session_terminal = true;
    assert_eq!(run(&plan, vec![pty.slave]), Ok(0));
    let mut seen = [0; 16];
    let count = rustix::io::read(&pty.master, &mut seen).unwrap();
    assert_eq!(&seen[..count], b"seen\r\n");

    let null = File::open("/dev/null").unwrap();
    let message = run(&plan, vec![null.into()]).unwrap_err();
    assert!(message.contains("standard input: "), "{message}");
}
