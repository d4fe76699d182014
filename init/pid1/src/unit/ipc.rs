//! RemoveIPC=: System V and POSIX IPC objects of a service's user go when it has stopped, systemd.exec(5).
//!
//! There may be any number of them, so a child of PID 1 removes them. Until it has ended, whatever that user's next
//! processes are to run waits ([`Removers`]), and the number of a user that was made up is nobody else's.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::sys::clone::{self, Child};
use crate::sys::ipc::{self, Kind};

/// Where POSIX objects are, as files.
const FOLDERS: [&str; 2] = ["/dev/shm", "/dev/mqueue"];

/// A child that removes the objects of a user.
#[derive(Debug)]
struct Remover {
    uid: u32,
    /// The user's name, if it was made up.
    name: Option<String>,
    /// Has something to read once the child has ended.
    pidfd: OwnedFd,
}

/// The children that remove objects, by number.
#[derive(Debug, Default)]
pub(super) struct Removers(BTreeMap<i32, Remover>);

impl Removers {
    /// A child removes the objects of a user.
    pub(super) fn add(&mut self, child: Child, uid: u32, name: Option<String>) {
        let Child { pid, pidfd } = child;
        self.0.insert(pid, Remover { uid, name, pidfd });
    }

    /// What this user's next process waits for before it runs its program.
    pub(super) fn of(&self, uid: u32) -> impl Iterator<Item = BorrowedFd<'_>> {
        let removers = self.0.values().filter(move |remover| remover.uid == uid);
        removers.map(|remover| remover.pidfd.as_fd())
    }

    /// A child of PID 1 has ended; the user whose objects are gone with that, if no other child is at them.
    pub(super) fn ended(&mut self, pid: i32) -> Option<u32> {
        let uid = self.0.remove(&pid)?.uid;
        self.of(uid).next().is_none().then_some(uid)
    }

    /// The children, each with its user, for the next image of PID 1.
    pub(super) fn records(&self) -> BTreeMap<i32, (u32, Option<String>)> {
        let all = self.0.iter();
        all.map(|(pid, one)| (*pid, (one.uid, one.name.clone())))
            .collect()
    }

    /// A child of the last image, not collected yet, so that its number is its own.
    pub(super) fn again(&mut self, pid: i32, uid: u32, name: Option<String>) {
        let number = Pid::from_raw(pid);
        let pidfd = number.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(pidfd) = pidfd {
            self.add(Child { pid, pidfd }, uid, name);
        }
    }
}

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
    fn whoever_comes_next_waits_for_the_child_that_removes_what_was_the_users() {
        let mut removers = Removers::default();
        let born = || clone::closer(Vec::new()).map_err(|(cause, _)| cause);
        let (one, other) = (born().unwrap(), born().unwrap());
        let pids = [one.pid, other.pid];
        removers.add(one, 7, Some("a".into()));
        removers.add(other, 7, None);
        assert_eq!((removers.of(7).count(), removers.of(8).count()), (2, 0));
        let mut next = Removers::default();
        for (pid, (uid, name)) in removers.records() {
            next.again(pid, uid, name);
        }
        assert_eq!(next.records(), removers.records());
        assert_eq!(next.ended(pids[0]), None, "another child is at them");
        assert_eq!((next.ended(pids[1]), next.ended(1)), (Some(7), None));
        for pid in pids {
            let pid = Pid::from_raw(pid);
            let _ = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
        }
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
