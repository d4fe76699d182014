//! The guard before data of all kinds.

use super::*;
use crate::data::Data;

const V35: Version = Version { major: 3, minor: 5 };
const V36: Version = Version { major: 3, minor: 6 };

/// A data folder with a log in it.
fn data(folder: &Path, generation: u32) -> PathBuf {
    let data = folder.join(format!("member-{generation}"));
    fs::create_dir_all(data.join("member/wal")).unwrap();
    fs::write(data.join("member/wal/0.wal"), b"votes").unwrap();
    data
}

fn start(data: &Path, confirmed: bool) -> Start {
    Start {
        data: data.to_owned(),
        confirmed,
        invocation: "this".to_owned(),
    }
}

/// Before it is confirmed.
fn guard(data: &Path, ours: Version) -> Result<(), String> {
    before_start(&start(data, false), || Ok(ours))
}

fn guard_confirmed(data: &Path, ours: Version) -> Result<(), String> {
    before_start(&start(data, true), || Ok(ours))
}

#[test]
fn the_version_is_read_from_etcds_own_words() {
    let said = "etcd Version: 3.5.16\nGit SHA: Not provided\nGo Version: go1.24.0\n";
    assert_eq!(version_of(said), Ok(V35));
    assert!(version_of("").is_err() && version_of("etcd Version: three").is_err());
    let packages = "etcd-client 3.6.1-1\netcd-server 1:3.5.16-4+b2\nlibc6 2.41-12\n";
    assert_eq!(packaged_version(packages), Some(V35));
    // Of these etcd is asked.
    for packages in [
        "",
        "etcd-client 3.6.1-1\n",
        "etcd-server 3.5.16-4 changed\n",
        "etcd-server 3.6.0+really3.5.16-1\n",
        "etcd-server x\n",
    ] {
        assert_eq!(packaged_version(packages), None, "{packages}");
    }
}

#[test]
fn the_first_start_is_noted_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("member-1");
    guard(&data, V35).unwrap();
    assert_eq!(fs::read_to_string(started_file(&data)).unwrap(), "3.5\n");
    assert_eq!(crate::data::of(&data), Data::Started);
}

#[test]
fn data_that_was_started_and_has_no_log_is_never_started_on_again() {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("member-1");
    guard(&started, V35).unwrap();
    let emptied = folder.path().join("member-2");
    fs::create_dir_all(emptied.join("member/wal")).unwrap();
    for data in [started, emptied] {
        for _ in 0..2 {
            assert!(guard(&data, V35).unwrap_err().contains("no log any more"));
            assert_eq!(crate::data::of(&data), Data::Lost);
        }
        ended(&start(&data, false)).unwrap();
        assert_eq!(crate::data::of(&data), Data::Lost);
    }
    let confirmed = folder.path().join("member-3");
    guard_confirmed(&confirmed, V35).unwrap_err();
    assert_eq!(crate::data::of(&confirmed), Data::Lost);
}

#[test]
fn data_that_comes_back_is_started_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("member-1");
    guard_confirmed(&path, V35).unwrap_err();
    data(folder.path(), 1);
    guard_confirmed(&path, V35).unwrap();
    assert_eq!(crate::data::of(&path), Data::Started);
}

#[test]
fn what_is_left_of_a_confirmed_member_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 1);
    fs::remove_dir_all(data.join("member/wal")).unwrap();
    ended(&start(&data, true)).unwrap();
    assert!(data.join("member").exists());
}

#[test]
fn a_start_that_came_to_nothing_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("member-1");
    for _ in 0..2 {
        guard(&data, V35).unwrap();
        fs::create_dir_all(data.join("member/wal.tmp")).unwrap();
        ended(&start(&data, false)).unwrap();
        assert_eq!(crate::data::of(&data), Data::Unused);
    }
}

#[test]
fn a_start_takes_nothing_back_that_an_earlier_one_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("member-1");
    guard(&data, V35).unwrap();
    // The power goes; the guard of the next start is killed before it has looked.
    let next = Start {
        invocation: "next".to_owned(),
        ..start(&data, false)
    };
    ended(&next).unwrap();
    assert_eq!(crate::data::of(&data), Data::Started);
    // Or it looks, and etcd is broken.
    let broken = || Err("Exec format error".to_owned());
    let refused = before_start(&next, broken).unwrap_err();
    assert!(refused.contains("no log any more"), "{refused}");
    ended(&next).unwrap();
    assert_eq!(crate::data::of(&data), Data::Lost);
}

#[test]
fn a_log_that_cannot_be_looked_for_is_not_lost() {
    let wal = || Ok(PathBuf::from("0.wal"));
    let other = || Ok(PathBuf::from("0.tmp"));
    let unreadable = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
    assert!(has_wal([other(), wal()].into_iter()).unwrap());
    assert!(!has_wal([other()].into_iter()).unwrap());
    has_wal([other(), unreadable()].into_iter()).unwrap_err();

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("member-1");
    guard(&data, V35).unwrap();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("member"), b"no folder").unwrap();
    guard(&data, V35).unwrap_err();
    assert_eq!(crate::data::of(&data), Data::Started);
}

#[test]
fn where_the_word_of_a_loss_cannot_be_read_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("member-1");
    std::os::unix::fs::symlink(lost_file(&data), lost_file(&data)).unwrap();
    guard(&data, V35).unwrap_err();
    assert!(!started_file(&data).exists());
}

#[test]
fn an_etcd_that_ended_keeps_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 1);
    guard(&data, V35).unwrap();
    ended(&start(&data, false)).unwrap();
    guard(&data, V35).unwrap();
    assert!(data.join("member/wal/0.wal").exists());
}

#[test]
fn data_of_a_newer_minor_version_is_not_started_on() {
    let folder = tempfile::tempdir().unwrap();
    let old = data(folder.path(), 1);
    guard(&old, V36).unwrap();
    let refused = guard_confirmed(&old, V35).unwrap_err();
    assert!(
        refused.contains("written by etcd 3.6, this image has 3.5"),
        "{refused}"
    );
    assert_eq!(fs::read_to_string(started_file(&old)).unwrap(), "3.6\n");
    // That of a replacement is another matter.
    guard(&folder.path().join("member-2"), V35).unwrap();
}

#[test]
fn a_newer_version_starts_after_a_copy_of_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 1);
    guard(&data, V35).unwrap();
    fs::create_dir(folder.path().join("member-1.before-3.partial")).unwrap();
    guard(&data, V36).unwrap();
    let kept = folder.path().join("member-1.before-3.6/member/wal/0.wal");
    assert_eq!(fs::read(&kept).unwrap(), b"votes");
    fs::write(data.join("member/wal/0.wal"), b"more votes").unwrap();
    guard(&data, V36).unwrap();
    assert_eq!(fs::read(&kept).unwrap(), b"votes");
}

#[test]
fn data_of_replaced_members_is_removed_once_the_new_one_is_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (data(folder.path(), 1), data(folder.path(), 2));
    guard(&old, V35).unwrap();
    guard(&old, V36).unwrap();
    fs::create_dir(folder.path().join("member-x")).unwrap();
    guard(&new, V36).unwrap();
    assert!(old.exists());
    guard_confirmed(&new, V35).unwrap_err();
    assert!(old.exists(), "what is refused removes nothing");
    guard_confirmed(&new, V36).unwrap();
    let mut left: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["member-2", "member-2.started", "member-x"]);
}

#[test]
fn a_version_that_is_garbage_stops_etcd() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 1);
    for garbage in [b"".as_slice(), b"three", b"\xffgarbage"] {
        fs::write(started_file(&data), garbage).unwrap();
        assert!(guard(&data, V35).is_err());
    }
}
