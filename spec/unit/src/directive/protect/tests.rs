//! Ready-made walls, as paths.

use super::super::tests::plan;
use super::*;

fn targets(directives: &str) -> Vec<(String, bool)> {
    let plan = plan(&format!("ExecStart=/bin/a\n{directives}"));
    let list = plan.mounts.list.into_iter();
    list.map(|mount| (mount.target, mount.read_only)).collect()
}

fn pairs(list: &[(&str, bool)]) -> Vec<(String, bool)> {
    list.iter()
        .map(|(path, ro)| (path.to_string(), *ro))
        .collect()
}

#[test]
fn protect_system_closes_more_and_more() {
    let yes = pairs(&[("/boot", true), ("/efi", true), ("/usr", true)]);
    assert_eq!(targets("ProtectSystem=yes\n"), yes);
    assert_eq!(targets("ProtectSystem=full\n").len(), 4);
    let strict = pairs(&[
        ("/", true),
        ("/dev", false),
        ("/home", false),
        ("/proc", false),
        ("/root", false),
        ("/run/user", false),
        ("/sys", false),
    ]);
    assert_eq!(targets("ProtectSystem=strict\n"), strict);
    assert_eq!(targets("ProtectSystem=strict\nProtectSystem=no\n"), []);
}

#[test]
fn folders_of_the_service_stay_writable() {
    let list = targets("ProtectSystem=strict\nStateDirectory=a\nConfigurationDirectory=b\n");
    assert!(list.contains(&("/var/lib/a".into(), false)));
    assert!(!list.iter().any(|(path, _)| path == "/etc/b"));
}

#[test]
fn home_is_closed_read_only_or_empty() {
    let home = |directive: &str| {
        let plan = plan(&format!("ExecStart=/bin/a\nProtectHome={directive}\n"));
        plan.mounts.list.first().map(|mount| mount.content.clone())
    };
    let options = "mode=0755".into();
    assert_eq!(home("yes"), Some(Content::Inaccessible));
    assert_eq!(home("read-only"), Some(Content::Same));
    assert_eq!(home("tmpfs"), Some(Content::Tmpfs { options }));
    assert_eq!(home("no"), None);
}

#[test]
fn tunables_are_closed_but_for_file_systems_below_sys() {
    let list = targets("ProtectKernelTunables=yes\n");
    assert!(list.contains(&("/proc/sys".into(), true)));
    assert!(list.contains(&("/sys".into(), true)));
    assert!(list.contains(&("/sys/fs/cgroup".into(), false)));
    let both = targets("ProtectKernelTunables=yes\nProtectControlGroups=yes\n");
    assert!(
        !both.iter().any(|(path, _)| path == "/sys/fs/cgroup"),
        "it is as /sys is"
    );
}

#[test]
fn temporary_folders_are_made_closed_and_go_with_the_run() {
    let plan = plan("ExecStart=/bin/a\nPrivateTmp=yes\n");
    let folders = plan.directories.iter();
    let folders: Vec<_> = folders
        .map(|folder| (folder.path.as_str(), folder.mode, folder.remove))
        .collect();
    assert_eq!(
        folders,
        [
            ("/tmp/systemd-private--etcd@a.service", 0o700, true),
            ("/tmp/systemd-private--etcd@a.service/tmp", 0o1777, false),
            ("/var/tmp/systemd-private--etcd@a.service", 0o700, true),
            (
                "/var/tmp/systemd-private--etcd@a.service/tmp",
                0o1777,
                false
            ),
        ]
    );
    assert!(folders.iter().all(|(path, ..)| is_private_tmp(path)));
    assert!(!is_private_tmp("/run/etcd"));
    let disconnected = targets("PrivateTmp=disconnected\n");
    assert_eq!(disconnected, pairs(&[("/tmp", false), ("/var/tmp", false)]));
}

#[test]
fn a_user_made_up_for_one_run_brings_its_walls() {
    let text =
        "ExecStart=/bin/a\nDynamicUser=yes\nUser=etcd\nStateDirectory=a/b\nProtectHome=yes\n";
    let plan = plan(text);
    assert!(plan.no_new_privileges);
    let mount = |path: &str| {
        let mut list = plan.mounts.list.iter();
        list.find(|mount| mount.target == path).cloned()
    };
    assert!(mount("/").is_some_and(|root| root.read_only));
    assert_eq!(mount("/home").unwrap().content, Content::Inaccessible);
    assert!(mount("/tmp").is_some());
    assert!(mount("/var/lib/private").is_some_and(|hidden| hidden.read_only));
    assert!(mount("/var/lib/private/a/b").is_some_and(|folder| !folder.read_only));
    let folder = plan.directories.iter().find(|folder| folder.link).unwrap();
    assert_eq!(folder.other.as_deref(), Some("/var/lib/a/b"));
    assert_eq!(plan.environment["STATE_DIRECTORY"], "/var/lib/a/b");
}

#[test]
fn processes_of_others_are_hidden_in_a_new_proc() {
    let plan = plan("ExecStart=/bin/a\nProtectProc=invisible\nProcSubset=pid\n");
    let content = Content::Proc {
        hide: Some("invisible".into()),
        only_processes: true,
    };
    assert_eq!(plan.mounts.list[0].content, content);
}
