//! RemoveIPC=: System V and POSIX IPC objects of a service's user go when it has stopped, systemd.exec(5).
//!
//! There may be any number of them, so a child of PID 1 removes them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::sys::clone::{self, Child};
use crate::sys::ipc::{self, Kind};

/// Where POSIX objects are, as files.
const FOLDERS: [&str; 2] = ["/dev/shm", "/dev/mqueue"];

/// Begins to remove all that a user owns.
pub(super) fn remove(uid: u32) -> io::Result<Child> {
    clone::worker(|| {
        for kind in Kind::ALL {
            let table = fs::read_to_string(kind.table()).unwrap_or_default();
            for id in owned(&table, uid) {
                if let Err(cause) = ipc::remove(kind, id) {
                    crate::warning!("IPC object {id} of user {uid}: {cause}");
                }
            }
        }
        for folder in FOLDERS {
            if let Err(cause) = empty(Path::new(folder), uid) {
                crate::warning!("{folder}: {cause}");
            }
        }
        0
    })
}

/// Numbers of the objects that a user owns, out of a table below `/proc/sysvipc`, whose first line names the columns.
fn owned(table: &str, uid: u32) -> Vec<i32> {
    let mut lines = table.lines();
    let heading = lines.next().unwrap_or_default();
    let column = |name: &str| heading.split_whitespace().position(|word| word == name);
    let (Some(owner), id) = (column("uid"), 1) else {
        return Vec::new();
    };
    let objects = lines.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_own = words.get(owner)?.parse() == Ok(uid);
        is_own.then_some(words.get(id)?.parse().ok()?)
    });
    objects.collect()
}

/// Removes what a user owns directly in a folder, and folders of its own with all that is in them.
fn empty(folder: &Path, uid: u32) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let status = match fs::symlink_metadata(&path) {
            Ok(status) if status.uid() == uid => status,
            _ => continue,
        };
        let removed = match status.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        match removed {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                crate::warning!("{}: {cause}", path.display());
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_one_user_are_found_by_the_heading() {
        let table = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n\
                     0          3   600          1   100   100   100   100          0          0\n\
                     0          4   600          1     0     0     0     0          0          0\n";
        assert_eq!(owned(table, 100), [3]);
        assert_eq!(owned(table, 0), [4]);
        assert!(owned("", 0).is_empty() && owned("a b\n1 2\n", 2).is_empty());
    }

    #[test]
    fn files_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/file"), "").unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        empty(folder.path(), own + 1).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        empty(folder.path(), own).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        empty(Path::new("/nowhere"), own).unwrap();
    }
}
