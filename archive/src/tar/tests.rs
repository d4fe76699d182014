use super::*;

fn read_all(bytes: &[u8], limits: &Limits) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    let mut reader = Reader::new(bytes, "x.tar", limits);
    let mut out = Vec::new();
    while let Some(entry) = reader.next()? {
        let data = reader.data()?;
        out.push((entry, data));
    }
    Ok(out)
}

fn pack(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.write(entry, data).expect("memory");
    }
    writer.finish().expect("memory")
}

fn one(entry: Entry) -> Vec<u8> {
    pack(&[(entry, Vec::new())])
}

fn refused(bytes: &[u8]) -> String {
    read_all(bytes, &Limits::default())
        .expect_err("must be refused")
        .to_string()
}

/// A header with its checksum made right again after `change`.
fn header(change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_path("etc/x").expect("short");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.set_entry_type(::tar::EntryType::Regular);
    change(&mut header);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn every_kind_of_member_reads_back() {
    let long = format!("usr/{}", "long-name/".repeat(30))
        .trim_end_matches('/')
        .to_owned();
    let mut owned = Entry::file("bin/ping", 0o755);
    owned.xattrs = vec![
        ("security.capability".into(), vec![1, 0, 0, 2, b'\n', 0]),
        ("user.note".into(), b"x".to_vec()),
    ];
    (owned.uid, owned.gid, owned.mtime) = (3_000_000_000, 42, 1_795_040_000);
    (owned.user, owned.group) = ("root".into(), "shadow".into());
    owned.size = 3;
    let entries = vec![
        (Entry::folder("", 0o755), vec![]),
        (Entry::folder("bin", 0o1777), vec![]),
        (owned, b"abc".to_vec()),
        (
            Entry {
                kind: Kind::Symlink("../x".into()),
                ..Entry::file("bin/link", 0o777)
            },
            vec![],
        ),
        (
            Entry {
                kind: Kind::Hardlink("bin/ping".into()),
                ..Entry::file("bin/ping6", 0o755)
            },
            vec![],
        ),
        (
            Entry {
                kind: Kind::Symlink("t".repeat(300)),
                ..Entry::file(&long, 0o777)
            },
            vec![],
        ),
    ];
    assert_eq!(
        read_all(&pack(&entries), &Limits::default()).expect("good"),
        entries
    );
}

#[test]
fn data_not_asked_for_is_read_over() {
    let mut large = Entry::file("a", 0o644);
    large.size = 1000;
    let bytes = pack(&[(large, vec![1; 1000]), (Entry::file("b", 0o644), vec![])]);
    let mut reader = Reader::new(&bytes[..], "x.tar", &Limits::default());
    assert_eq!(reader.next().expect("good").expect("a").path, "a");
    assert_eq!(reader.next().expect("good").expect("b").path, "b");
}

#[test]
fn paths_that_leave_the_archive_are_refused_by_name() {
    assert_eq!(
        refused(&header(|h| h
            .set_path_absolute("/etc/passwd")
            .expect("short"))),
        "x.tar: /etc/passwd: its path is absolute; an archive holds relative paths only"
    );
    assert_eq!(
        refused(&one(Entry::file("a/../../b", 0o644))),
        "x.tar: ./a/../../b: its path leaves the archive (..)"
    );
    let out = Entry {
        kind: Kind::Hardlink("../etc/shadow".into()),
        ..Entry::file("a", 0o644)
    };
    assert!(refused(&one(out)).contains("hard link to a path outside"));
    assert!(refused(&one(Entry::file("a\u{1b}[2Jb/..", 0o644))).contains("\\u{1b}[2Jb"));
}

#[test]
fn a_device_node_is_refused_unless_the_caller_takes_it() {
    let node = Entry {
        kind: Kind::BlockDevice { major: 8, minor: 0 },
        ..Entry::file("dev/sda", 0o660)
    };
    assert_eq!(
        refused(&one(node.clone())),
        "x.tar: ./dev/sda: is a device node or FIFO, which is not taken"
    );
    let taken = read_all(
        &one(node.clone()),
        &Limits {
            special_files: true,
            ..Limits::default()
        },
    );
    assert_eq!(taken.expect("taken")[0].0, node);
}

#[test]
fn a_header_of_ten_gigabytes_is_refused_before_anything_is_reserved() {
    let huge = header(|h| h.set_size(10 << 30));
    assert_eq!(
        refused(&huge),
        format!(
            "x.tar: etc/x: says it has {} bytes; at most {} are taken",
            10u64 << 30,
            2u64 << 30
        )
    );
    let long_name = header(|h| {
        h.set_entry_type(::tar::EntryType::GNULongName);
        h.set_size(10 << 30);
    });
    assert!(refused(&long_name).contains("an extended header of 10737418240 bytes"));
}

#[test]
fn bounds_on_counts_and_totals_hold() {
    let many: Vec<_> = (0..20)
        .map(|i| (Entry::file(&format!("f{i}"), 0o644), vec![0; 600]))
        .collect();
    let limits = Limits {
        members: 10,
        ..Limits::default()
    };
    assert!(
        read_all(&pack(&many), &limits)
            .expect_err("too many")
            .message
            .contains("more than 10 members")
    );
    let limits = Limits {
        total_bytes: 5000,
        ..Limits::default()
    };
    assert!(
        read_all(&pack(&many), &limits)
            .expect_err("too much")
            .message
            .contains("more bytes than are taken")
    );
}

#[test]
fn truncated_and_damaged_archives_are_refused() {
    let bytes = pack(&[
        (Entry::file("a", 0o644), vec![5; 700]),
        (Entry::file("b", 0o644), vec![]),
    ]);
    for cut in 0..bytes.len() - 2 * BLOCK {
        assert!(
            read_all(&bytes[..cut], &Limits::default()).is_err(),
            "cut at {cut}"
        );
    }
    let mut damaged = bytes.clone();
    damaged[0] ^= 1;
    assert!(refused(&damaged).contains("checksum is wrong"));
    let mut tail = bytes;
    tail.push(1);
    assert!(refused(&tail).contains("after the archive's end mark"));
}

#[test]
fn kinds_that_no_package_has_are_refused() {
    assert!(
        refused(&header(|h| h.set_entry_type(::tar::EntryType::GNUSparse)))
            .contains("unknown type \"S\"")
    );
    let with_data = header(|h| {
        h.set_entry_type(::tar::EntryType::Symlink);
        h.set_link_name("x").expect("short");
        h.set_size(5);
    });
    assert!(refused(&with_data).contains("carries data although it is no file"));
}

#[test]
fn the_host_tar_reads_what_we_write() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut entry = Entry::file("usr/x", 0o4755);
    entry.xattrs = vec![("user.a".into(), b"b".to_vec())];
    let bytes = pack(&[
        (Entry::folder("usr", 0o755), vec![]),
        (entry, b"abc".to_vec()),
    ]);
    let Ok(mut child) = Command::new("tar")
        .args(["-tvf", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    else {
        return; // No tar(1) on this machine; the reader above is the proof.
    };
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(&bytes)
        .expect("written");
    let listed =
        String::from_utf8(child.wait_with_output().expect("finished").stdout).expect("text");
    assert!(
        listed.contains("drwxr-xr-x 0/0")
            && listed.contains("-rwsr-xr-x 0/0")
            && listed.contains("./usr/x"),
        "{listed}"
    );
}

proptest::proptest! {
    #[test]
    fn a_changed_byte_never_panics_and_never_climbs(at in 0usize..3000, byte in proptest::num::u8::ANY) {
        let mut entry = Entry::file("usr/bin/x", 0o755);
        entry.xattrs = vec![("user.a".into(), vec![1, 2])];
        let mut bytes = pack(&[(entry, vec![3; 600])]);
        let at = at % bytes.len();
        bytes[at] = byte;
        for (entry, _) in read_all(&bytes, &Limits::default()).unwrap_or_default() {
            proptest::prop_assert!(!entry.path.starts_with('/') && !entry.path.contains(".."));
        }
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..1600)) {
        let _ = read_all(&bytes, &Limits::default());
    }
}
