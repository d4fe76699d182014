//! etcd's data on this node, as far as it can be told from beside it.
//!
//! Each new member of the node has a generation of data: the folder `member-N`, which is etcd's alone. Beside it
//! [`crate::guard`], which runs as etcd's user, keeps files:
//!
//! - `member-N.first`, from before the first start on: which start of etcd.service that was.
//! - `member-N.started`, from before the first start on: the version of etcd that was started last.
//! - `member-N.lost`, once a generation that had been started was found without etcd's log.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What became of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    /// etcd was never started on it.
    Unused,
    /// etcd was started on it: there may be votes in it.
    Started,
    /// etcd was started on it, and its log is gone.
    Lost,
}

/// Looks. What may not be looked at is taken to be there: nothing is replaced on a guess.
pub(crate) fn of(folder: &Path) -> Data {
    let is_there = |path: &Path| path.try_exists().unwrap_or(true);
    if matches!(lost_file(folder).try_exists(), Ok(true)) {
        Data::Lost
    } else if is_there(&started_file(folder)) || is_there(folder) {
        Data::Started
    } else {
        Data::Unused
    }
}

/// The file that says that the data was started, and by what.
pub(crate) fn started_file(folder: &Path) -> PathBuf {
    beside(folder, ".started")
}

/// The file that says which start was the first one.
pub(crate) fn first_file(folder: &Path) -> PathBuf {
    beside(folder, ".first")
}

/// The file that says that the data is lost.
pub(crate) fn lost_file(folder: &Path) -> PathBuf {
    beside(folder, ".lost")
}

/// `member-N` with something after it.
pub(crate) fn beside(folder: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(folder);
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_beside_the_folder_tells_of_the_data() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("member-1");
        assert_eq!(of(&folder), Data::Unused);
        fs::write(started_file(&folder), "3.5\n").unwrap();
        assert_eq!(of(&folder), Data::Started);
        fs::rename(started_file(&folder), lost_file(&folder)).unwrap();
        assert_eq!(of(&folder), Data::Lost);
        assert_eq!(of(&parent.path().join("member-12")), Data::Unused);
    }

    #[test]
    fn a_folder_without_a_word_beside_it_may_hold_votes() {
        let parent = tempfile::tempdir().unwrap();
        assert_eq!(of(parent.path()), Data::Started);
    }
}
