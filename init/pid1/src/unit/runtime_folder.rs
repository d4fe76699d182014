//! Runtime folders of services that have stopped: out of the way at once, and emptied by a child.
//!
//! A folder may hold any number of files. So it is renamed, which leaves its place to the next start, and a child of
//! PID 1 removes what is in it while the loop turns. One that is empty needs no child.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::sys;

/// Has a folder removed; `id` is a name that nobody else has.
pub(super) fn remove(folder: &Path, id: &str) -> io::Result<()> {
    let Some(moved) = move_away(folder, id)? else {
        return Ok(());
    };
    let emptied = || match std::fs::remove_dir_all(&moved) {
        Ok(()) => 0,
        Err(cause) => {
            crate::warning!("{}: {cause}", moved.display());
            1
        }
    };
    sys::clone::worker(emptied).map(drop)
}

/// Removes an empty folder; one that is not gets a name beside its own.
fn move_away(folder: &Path, id: &str) -> io::Result<Option<PathBuf>> {
    match std::fs::remove_dir(folder) {
        Err(cause) if cause.kind() == ErrorKind::DirectoryNotEmpty => {}
        Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(cause),
        _ => return Ok(None),
    }
    let mut name = OsString::from(".");
    name.push(folder.file_name().unwrap_or_default());
    name.push(format!(".removed-{id}"));
    let moved = folder.with_file_name(name);
    std::fs::rename(folder, &moved)?;
    Ok(Some(moved))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_out_of_the_way_at_once() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("etcd");
        assert_eq!(move_away(&folder, "0").unwrap(), None);
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(move_away(&folder, "1").unwrap(), None, "it was empty");
        std::fs::create_dir_all(folder.join("deep")).unwrap();
        let moved = move_away(&folder, "2").unwrap().unwrap();
        assert!(moved.join("deep").exists() && !folder.exists());
        std::fs::create_dir_all(folder.join("next")).unwrap();
        assert_ne!(move_away(&folder, "3").unwrap(), Some(moved));
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
