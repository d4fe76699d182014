//! Runtime folders of services that have stopped: out of the way at once, and emptied by a child.
//!
//! A folder may hold any number of files. So it is renamed, which leaves its place to the next start, and a child of
//! PID 1 removes what is in it while the loop turns. One that is empty needs no child; one in which a file system is
//! mounted stays, as what is on that is not the service's run. Folders of PrivateTmp= have a name of their own for each
//! run, and one of them is on a disk, which may hang: a child does all of it.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::mount_table::{self, Mount};
use crate::sys::clone::{self, Child};

/// Has a folder removed; `id` is a name that nobody else has. Tells of the child that does it, where there is one.
pub(super) fn remove(folder: &Path, id: &str) -> io::Result<Option<Child>> {
    match std::fs::remove_dir(folder) {
        Err(cause) if cause.kind() == ErrorKind::DirectoryNotEmpty => {}
        Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(cause),
        _ => return Ok(None),
    }
    let table = mount_table::parse(&std::fs::read_to_string("/proc/self/mountinfo")?);
    if let Some(target) = mounted_in(folder, &table) {
        let message = format!("it is not removed: a file system is mounted at {target}");
        return Err(io::Error::new(ErrorKind::ResourceBusy, message));
    }
    move_away(folder, id, empty).map(Some)
}

/// Has folders removed whose names no later run will have. PID 1 itself touches none of their disks: a child does all of it.
pub(super) fn remove_for_good(folders: &[String]) -> io::Result<Child> {
    clone::worker(|| {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let table = mount_table::parse(&text);
        let removed = folders
            .iter()
            .map(|folder| remove_all(Path::new(folder), &table));
        i32::from(removed.filter(|removed| !removed).count() > 0)
    })
}

/// Removes a folder with all that is in it, unless a file system is mounted there; whether nothing is left.
fn remove_all(folder: &Path, table: &[Mount]) -> bool {
    let removed = match mounted_in(folder, table) {
        Some(target) => Err(io::Error::new(
            ErrorKind::ResourceBusy,
            format!("it is not removed: a file system is mounted at {target}"),
        )),
        None => std::fs::remove_dir_all(folder),
    };
    match removed {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            crate::warning!("{}: {cause}", folder.display());
            false
        }
        _ => true,
    }
}

/// Where a file system is mounted in a folder.
fn mounted_in<'a>(folder: &Path, table: &'a [Mount]) -> Option<&'a str> {
    let mut targets = table.iter().map(|mount| mount.target.as_str());
    targets.find(|target| Path::new(target).starts_with(folder))
}

/// Gives a folder a name beside its own and begins to empty it. If it cannot begin, the folder is back in its place,
/// where the next stop finds it.
fn move_away<T>(
    folder: &Path,
    id: &str,
    begin: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let mut name = OsString::from(".");
    name.push(folder.file_name().unwrap_or_default());
    name.push(format!(".removed-{id}"));
    let moved: PathBuf = folder.with_file_name(name);
    std::fs::rename(folder, &moved)?;
    begin(&moved).inspect_err(|_| {
        if let Err(cause) = std::fs::rename(&moved, folder) {
            crate::warning!("{} stays: {cause}", moved.display());
        }
    })
}

/// Begins to remove a folder with all that is in it.
fn empty(folder: &Path) -> io::Result<Child> {
    clone::worker(|| match std::fs::remove_dir_all(folder) {
        Ok(()) => 0,
        Err(cause) => {
            crate::warning!("{}: {cause}", folder.display());
            1
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_out_of_the_way_at_once() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("etcd");
        assert!(remove(&folder, "0").unwrap().is_none(), "there is none");
        std::fs::create_dir(&folder).unwrap();
        assert!(remove(&folder, "1").unwrap().is_none(), "it was empty");
        std::fs::create_dir_all(folder.join("deep")).unwrap();
        let first = move_away(&folder, "2", |moved| Ok(moved.to_path_buf())).unwrap();
        assert!(first.join("deep").exists() && !folder.exists());
        std::fs::create_dir_all(folder.join("next")).unwrap();
        let second = move_away(&folder, "3", |moved| Ok(moved.to_path_buf())).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn a_folder_that_nobody_can_empty_is_back_in_its_place() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("etcd");
        std::fs::create_dir_all(folder.join("deep")).unwrap();
        let refused = move_away(&folder, "0", |_| -> io::Result<()> {
            Err(ErrorKind::OutOfMemory.into())
        });
        assert!(refused.is_err() && folder.join("deep").exists());
    }

    #[test]
    fn a_file_system_in_it_is_seen() {
        let table =
            |target: &str| mount_table::parse(&format!("1 1 0:1 / {target} rw - tmpfs tmpfs rw\n"));
        let folder = Path::new("/run/etcd");
        assert_eq!(
            mounted_in(folder, &table("/run/etcd/a")),
            Some("/run/etcd/a")
        );
        assert_eq!(mounted_in(folder, &table("/run/etcd-b/a")), None);
        assert_eq!(mounted_in(folder, &table("/run")), None);
    }

    #[test]
    fn what_no_run_uses_again_is_removed_unless_something_is_mounted_there() {
        let tmp = tempfile::tempdir().unwrap();
        let folder = tmp.path().join("systemd-private-1-a.service");
        std::fs::create_dir_all(folder.join("tmp/deep")).unwrap();
        let mount = format!("1 1 0:1 / {}/tmp rw - tmpfs tmpfs rw\n", folder.display());
        assert!(!remove_all(&folder, &mount_table::parse(&mount)));
        assert!(folder.join("tmp/deep").exists());
        assert!(remove_all(&folder, &[]) && !folder.exists());
        assert!(remove_all(&folder, &[]), "it is gone already");
    }

    #[test]
    fn what_is_no_folder_is_left_and_said() {
        let run = tempfile::tempdir().unwrap();
        let file = run.path().join("etcd");
        std::fs::write(&file, "").unwrap();
        assert!(remove(&file, "0").is_err());
        assert!(file.exists());
    }
}
