//! The folders of the state file system and their version, and writing its small files so that a power cut leaves
//! the old or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use spec_layout::LAYOUT_VERSION;

use super::{Result, at};

/// Checks `layout_version`; writes it on a new file system.
pub(super) fn check(state: &Path) -> Result<()> {
    let file = state.join("layout_version");
    let text = match fs::read_to_string(&file) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            return write(&file, &format!("{LAYOUT_VERSION}\n"));
        }
        other => other.map_err(at(file.display()))?,
    };
    match text.trim_end().parse::<u32>() {
        Ok(LAYOUT_VERSION) => Ok(()),
        Ok(version) => Err(format!(
            "the state partition has layout {version}, this image knows {LAYOUT_VERSION}: boot an image that knows both, \
             or wipe the partition"
        )),
        Err(_) => Err(format!(
            "{}: \"{}\" is not a number",
            file.display(),
            text.trim_end()
        )),
    }
}

/// Makes a folder if it is missing.
pub(super) fn folder(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => Err(at(path.display())(cause)),
        _ => Ok(()),
    }
}

/// Writes a small file whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let new = path.with_extension("new");
    let written = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(at(path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_system_gets_the_version_and_a_newer_one_is_refused() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(check(state.path()), Ok(()));
        assert_eq!(
            fs::read_to_string(state.path().join("layout_version")).unwrap(),
            "1\n"
        );
        assert_eq!(check(state.path()), Ok(()));
        write(&state.path().join("layout_version"), "2\n").unwrap();
        assert!(
            check(state.path())
                .unwrap_err()
                .contains("has layout 2, this image knows 1")
        );
        write(&state.path().join("layout_version"), "x\n").unwrap();
        assert!(
            check(state.path())
                .unwrap_err()
                .contains("\"x\" is not a number")
        );
    }
}
