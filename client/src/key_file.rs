//! Writing files so that a reader sees the old or the new content whole, and nobody else sees a key.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Mode of a file that holds a key or a token.
pub const SECRET: u32 = 0o600;
/// Mode of a file that anyone may read.
pub const PUBLIC: u32 = 0o644;

/// Whose a file is to be; `None` leaves what the kernel gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// User number.
    pub user: Option<u32>,
    /// Group number.
    pub group: Option<u32>,
}

/// Writes a new file beside the old one, syncs it, and renames it over. Never is there a moment in which
/// the content can be read with more rights than `mode` gives.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    write_for(path, content, mode, Owner::default())
}

/// The same for somebody else, whose it is from the first moment it is there.
pub fn write_for(path: &Path, content: &[u8], mode: u32, owner: Owner) -> io::Result<()> {
    let temporary = temporary_name(path)?;
    let written = write_new(&temporary, content, mode, owner)
        .and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
        return Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", path.display()),
        ));
    }
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    Ok(path.with_file_name(hidden))
}

fn write_new(path: &Path, content: &[u8], mode: u32, owner: Owner) -> io::Result<()> {
    // What an earlier process of the same number left behind.
    let _ = std::fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    // The umask may have taken bits away.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    if owner != Owner::default() {
        fchown(&file, owner.user, owner.group)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_whole_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        write(&path, b"old", PUBLIC).unwrap();
        write(&path, b"new", SECRET).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            SECRET
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("inside"), b"x").unwrap();
        let error = write(&path, b"new", SECRET).unwrap_err();
        assert!(error.to_string().contains("taken"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
