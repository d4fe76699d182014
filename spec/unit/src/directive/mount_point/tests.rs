//! Golden calls: a mount unit's text, and the system calls it becomes.

use super::*;
use crate::load::{Loaded, Loader, tests::Tree};
use crate::specifier::Facts;
use crate::unit::LoadState;

fn load(name: &str, text: &str) -> Loaded {
    let (tree, facts) = (Tree::of(&[(name, text)]), Facts::default());
    Loader::new(&tree, &facts).unwrap().load(name).unwrap()
}

fn has(unit: &Unit, relation: Relation, on: &str) -> bool {
    unit.dependencies.has(relation, on)
}

#[test]
fn options_become_bits_and_data() {
    let text = "[Mount]\nWhat=LABEL=my data\nWhere=/srv/data\nType=ext4\nDirectoryMode=0700\nReadWriteOnly=yes\n\
                Options=defaults,noatime,ro,rw,nosuid,data=ordered,x-systemd.growfs,nofail,rslave,context=\"a,b\"\n";
    let loaded = load("srv-data.mount", text);
    assert_eq!(loaded.findings, []);
    let expected = MountCall {
        what: "/dev/disk/by-label/my\\x20data".into(),
        target: "/srv/data".into(),
        kind: Some("ext4".into()),
        flags: 1 << 10 | 2,
        propagation: vec![1 << 19 | 1 << 14],
        data: "data=ordered,context=\"a,b\"".into(),
        mode: 0o700,
        read_write_only: true,
    };
    assert_eq!(call(&loaded.unit), Ok(expected));
    let device = "dev-disk-by\\x2dlabel-my\\x5cx20data.device";
    assert!(has(&loaded.unit, Relation::Requires, device));
    assert!(has(&loaded.unit, Relation::StopPropagatedFrom, device));
    assert!(has(&loaded.unit, Relation::After, device));
    assert!(
        !has(&loaded.unit, Relation::Before, "local-fs.target"),
        "nofail"
    );
}

#[test]
fn what_users_may_do_leaves_its_mark_and_can_be_taken_back() {
    assert_eq!(options::parse("user").unwrap().flags, 2 | 4 | 8);
    assert_eq!(options::parse("user,exec").unwrap().flags, 2 | 4);
    assert_eq!(
        options::parse("rbind,ro").unwrap().flags,
        BIND | 1 << 14 | 1
    );
}

#[test]
fn a_name_that_is_not_the_path_is_refused_with_the_right_one() {
    for (name, text, why) in [
        ("a.mount", "What=x\nWhere=/b-c", "call it b\\x2dc.mount"),
        ("a--b.mount", "What=x", "not an escaped path"),
        ("a.mount", "Where=/a", "no What="),
        ("sys-fs-cgroup-x.mount", "What=x", "API file system"),
        ("proc.mount", "What=x", "API file system"),
        ("a.mount", "What=/x.img\nOptions=loop", "needs mount(8)"),
        ("a.mount", "What=s:/\nType=nfs", "has addr="),
        ("a.mount", "What=x\nType=fuse.sshfs", "has fd="),
        ("a.mount", "What=x\nWhere=b", "absolute"),
    ] {
        let unit = load(name, &format!("[Mount]\n{text}\n")).unit;
        assert_eq!(unit.load, LoadState::BadSetting, "{name} {text}");
        let reason = unit.reason.unwrap();
        assert!(reason.contains(why), "{reason}");
    }
    let text = "[Mount]\nWhat=s:/\nType=nfs4\nOptions=addr=10.0.0.1\n";
    let unit = load("a.mount", text).unit;
    assert_eq!(unit.load, LoadState::Loaded);
    for early in ["remote-fs-pre.target", "network-online.target"] {
        assert!(has(&unit, Relation::After, early));
    }
    assert!(has(&unit, Relation::Before, "remote-fs.target"));
}

#[test]
fn what_is_about_a_program_has_no_effect_and_the_unknown_is_said() {
    let text = "[Mount]\nWhat=tmpfs\nType=tmpfs\nKillSignal=SIGINT\nUser=x\nMemoryMax=1G\nExecStart=/a\nTimeoutSec=0\n";
    let loaded = load("mnt.mount", text);
    assert_eq!(loaded.findings.len(), 1, "{:?}", loaded.findings);
    assert_eq!(loaded.unit.mount_point.timeout_us, u64::MAX);
    assert!(has(&loaded.unit, Relation::After, "swap.target"));
    assert!(has(&loaded.unit, Relation::Conflicts, "umount.target"));
    assert!(has(&loaded.unit, Relation::Before, "local-fs.target"));
}

#[test]
fn how_it_is_unmounted_is_said() {
    let text = "[Mount]\nWhat=x\nLazyUnmount=yes\nForceUnmount=1\nTimeoutSec=5\n";
    let mount = load("sys-kernel-debug.mount", text).unit.mount_point;
    assert!(mount.lazy && mount.force && !mount.read_write_only);
    assert_eq!((mount.timeout_us, mount.mode), (5_000_000, 0o755));
}

fn tree(files: &[(&str, &str)], name: &str) -> Unit {
    let (tree, facts) = (Tree::of(files), Facts::default());
    Loader::new(&tree, &facts).unwrap().load(name).unwrap().unit
}

#[test]
fn who_needs_a_path_needs_the_mounts_on_the_way_that_have_files() {
    let files = [
        ("srv.mount", "[Mount]\nWhat=tmpfs\nType=tmpfs\n"),
        ("srv-a-b.mount", "[Mount]\nWhat=/srv/c\nOptions=bind\n"),
        ("srv-c.mount", "[Mount]\nWhat=tmpfs\nType=tmpfs\n"),
        (
            "a.service",
            "[Unit]\nRequiresMountsFor=/srv/a/b/c\n[Service]\nExecStart=/a\n",
        ),
        (
            "b.service",
            "[Unit]\nWantsMountsFor=/srv/a /var\n[Service]\nExecStart=/a\n",
        ),
        (
            "c.service",
            "[Service]\nExecStart=/a\nWorkingDirectory=/srv/c\n",
        ),
    ];
    let inner = tree(&files, "srv-a-b.mount");
    for on in ["srv.mount", "srv-c.mount"] {
        assert!(has(&inner, Relation::Requires, on) && has(&inner, Relation::After, on));
    }
    let unit = tree(&files, "a.service");
    for on in ["srv.mount", "srv-a-b.mount"] {
        assert!(has(&unit, Relation::Requires, on) && has(&unit, Relation::After, on));
    }
    let unit = tree(&files, "b.service");
    assert!(has(&unit, Relation::Wants, "srv.mount") && has(&unit, Relation::After, "srv.mount"));
    assert!(
        !unit
            .dependencies
            .list
            .iter()
            .any(|dependency| dependency.on == "var.mount")
    );
    assert!(has(
        &tree(&files, "c.service"),
        Relation::Requires,
        "srv-c.mount"
    ));
}
