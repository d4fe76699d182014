//! How much the caches hold, and removing what nobody has used for a while.
//!
//! Each use of a file sets its modification time, so that pruning needs no list of its own. Losing a file costs time or
//! a download, never a result.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::{Error, fetch};

/// What was used within this time stays, however little may be kept: a build that runs may be about to read it, or be
/// writing it.
const IN_USE: Duration = Duration::from_secs(60 * 60);

/// Folders of the cache whose files are named by what they hold.
const PARTS: [&str; 3] = ["build", "debs", "lists/sha256"];

/// A part of the cache, or of what was removed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its folder in the cache.
    pub name: &'static str,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the cache holds.
pub fn size() -> Result<Vec<Part>, Error> {
    each(&fetch::cache_folder()?, &|_| Ok(true))
}

/// Removes what was not used for `age`, an hour at least; says what that was.
pub fn prune(age: Duration) -> Result<Vec<Part>, Error> {
    remove(&fetch::cache_folder()?, age)
}

/// Notes that a file of the cache was used; where that fails, it counts as older than it is.
pub(crate) fn used(path: &Path) {
    let now = FileTimes::new().set_modified(SystemTime::now());
    let _ = File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_times(now));
}

fn remove(cache: &Path, age: Duration) -> Result<Vec<Part>, Error> {
    let age = age.max(IN_USE);
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    each(cache, &|path| {
        let modified = fs::metadata(path).and_then(|meta| meta.modified());
        let unused = modified.is_ok_and(|time| time.elapsed().is_ok_and(|since| since >= age));
        if !unused {
            return Ok(false);
        }
        match fs::remove_file(path) {
            // Another build was faster.
            Err(error) if gone(&error) => Ok(false),
            removed => removed.map(|()| true).map_err(Error::file("remove", path)),
        }
    })
}

/// Counts the files of each part that `counts`.
fn each(cache: &Path, counts: &dyn Fn(&Path) -> Result<bool, Error>) -> Result<Vec<Part>, Error> {
    let part = |name| {
        let mut part = Part {
            name,
            files: 0,
            bytes: 0,
        };
        walk(&cache.join(name), counts, &mut part).map(|()| part)
    };
    PARTS.into_iter().map(part).collect()
}

fn walk(
    folder: &Path,
    counts: &dyn Fn(&Path) -> Result<bool, Error>,
    part: &mut Part,
) -> Result<(), Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::file("read", folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::file("read", folder))?;
        let path = entry.path();
        // A file that another build has moved or removed meanwhile.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            walk(&path, counts, part)?;
        } else if counts(&path)? {
            part.files += 1;
            part.bytes += meta.len();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_may_be_working_with_stays_even_if_nothing_is_to_be_kept() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("debs/sha256");
        fs::create_dir_all(&folder).unwrap();
        for (name, age) in [("partial", Duration::ZERO), ("old", 2 * IN_USE)] {
            fs::write(folder.join(name), "12345").unwrap();
            let times = FileTimes::new().set_modified(SystemTime::now() - age);
            let file = File::options().write(true).open(folder.join(name)).unwrap();
            file.set_times(times).unwrap();
        }
        let removed = remove(cache.path(), Duration::ZERO).unwrap();
        assert_eq!(removed.iter().map(|part| part.files).sum::<u64>(), 1);
        assert!(folder.join("partial").exists());
        assert!(!folder.join("old").exists());
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let cache = tempfile::tempdir().unwrap();
        let month = Duration::from_secs(30 * 24 * 60 * 60);
        let old = FileTimes::new().set_modified(SystemTime::now() - 2 * month);
        for name in [
            "build/package/old",
            "debs/sha256/used",
            "lists/inrelease/trixie",
        ] {
            let path = cache.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "12345").unwrap();
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_times(old)
                .unwrap();
        }
        used(&cache.path().join("debs/sha256/used"));
        let removed = remove(cache.path(), month).unwrap();
        let counts: Vec<_> = removed
            .iter()
            .map(|part| (part.files, part.bytes))
            .collect();
        assert_eq!(counts, [(1, 5), (0, 0), (0, 0)]);
        assert!(!cache.path().join("build/package/old").exists());
        assert!(cache.path().join("debs/sha256/used").exists());
        assert!(cache.path().join("lists/inrelease/trixie").exists());
        let left = each(cache.path(), &|_| Ok(true)).unwrap();
        assert_eq!(
            left[1],
            Part {
                name: "debs",
                files: 1,
                bytes: 5
            }
        );
    }
}
