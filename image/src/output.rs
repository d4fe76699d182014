//! The folder that receives artifacts: each file appears whole or not at all.
//!
//! Everything is written under a temporary name in the same folder; [`Output::publish`] renames once all is on the
//! disk, so that a power cut leaves no name without its content. A build that fails or is killed leaves at most temporary files, which the next build removes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::sparse::{Sparse, is_zero};
use crate::{Error, Progress};

/// Begins the name of every temporary file.
const TEMPORARY: &str = ".bedplate-";
/// Bytes whose zeros become a hole.
const PAGE: usize = 4096;

/// A file that waits for its name.
#[derive(Debug)]
struct Pending {
    file: NamedTempFile,
    written: Written,
}

/// A file of the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its name in the folder.
    pub(crate) name: String,
    /// Its length.
    pub(crate) bytes: u64,
    /// SHA-256 of its content.
    pub(crate) sha256: [u8; 32],
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Output {
    folder: PathBuf,
    /// The folder, locked: two builds into it take turns.
    turn: File,
    pending: Vec<Pending>,
}

impl Output {
    /// Opens the folder, made if missing, and removes what a killed build left in it.
    pub(crate) fn open(folder: &Path, progress: &dyn Progress) -> Result<Output, Error> {
        fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        let turn = File::open(folder).map_err(Error::file("open", folder))?;
        lock(&turn, folder, progress).map_err(Error::file("lock", folder))?;
        for entry in fs::read_dir(folder).map_err(Error::file("read", folder))? {
            let entry = entry.map_err(Error::file("read", folder))?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                fs::remove_file(entry.path()).map_err(Error::file("remove", entry.path()))?;
            }
        }
        Ok(Output {
            folder: folder.to_path_buf(),
            turn,
            pending: Vec::new(),
        })
    }

    /// Path of a file once it is published.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file from memory.
    pub(crate) fn write(&mut self, name: &str, content: &[u8]) -> Result<Written, Error> {
        self.write_digested(
            name,
            content.len() as u64,
            Sha256::digest(content).into(),
            |file| file.write_all(content),
        )
    }

    /// Writes a disk as a sparse file.
    pub(crate) fn write_sparse(&mut self, name: &str, disk: &Sparse) -> Result<Written, Error> {
        let (written, digest) = rayon::join(
            || self.write_digested(name, disk.len(), [0; 32], |file| fill(file, disk)),
            || disk.sha256(),
        );
        let mut written = written?;
        written.sha256 = digest;
        if let Some(pending) = self.pending.last_mut() {
            pending.written = written.clone();
        }
        Ok(written)
    }

    /// Writes a file whose digest is known.
    fn write_digested(
        &mut self,
        name: &str,
        bytes: u64,
        sha256: [u8; 32],
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<Written, Error> {
        let error = |source| Error::File {
            action: "write",
            path: self.folder.join(name),
            source,
        };
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.folder)
            .map_err(error)?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))
            .map_err(error)?;
        fill(file.as_file_mut()).map_err(error)?;
        let written = Written {
            name: name.to_owned(),
            bytes,
            sha256,
        };
        self.pending.push(Pending {
            file,
            written: written.clone(),
        });
        Ok(written)
    }

    /// Every file written so far.
    pub(crate) fn written(&self) -> impl Iterator<Item = &Written> {
        self.pending.iter().map(|pending| &pending.written)
    }

    /// Gives every file its name, in the order in which they were written, and says the names. The turn stays ours.
    pub(crate) fn publish(&mut self) -> Result<Vec<String>, Error> {
        for Pending { file, written } in &self.pending {
            let path = self.folder.join(&written.name);
            file.as_file()
                .sync_all()
                .map_err(Error::file("write", path))?;
        }
        let mut names = Vec::new();
        for Pending { file, written } in self.pending.drain(..) {
            let path = self.folder.join(&written.name);
            file.persist(&path).map_err(|error| Error::File {
                action: "write",
                path,
                source: error.error,
            })?;
            names.push(written.name);
        }
        let folder = &self.folder;
        self.turn.sync_all().map_err(Error::file("write", folder))?;
        Ok(names)
    }
}

/// Locks the folder, and says so where another build has it.
fn lock(turn: &File, folder: &Path, progress: &dyn Progress) -> io::Result<()> {
    use rustix::fs::{FlockOperation, flock};
    match flock(turn, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => {}
        locked => return Ok(locked?),
    }
    let step = format!("wait for another build into {}", folder.display());
    progress.begin(&step, None);
    flock(turn, FlockOperation::LockExclusive)?;
    progress.end(&step, "");
    Ok(())
}

/// Writes the data of a disk and leaves its holes.
fn fill(file: &File, disk: &Sparse) -> io::Result<()> {
    file.set_len(disk.len())?;
    for (offset, chunk) in disk.data() {
        let mut start = None;
        for (at, page) in chunk
            .chunks(PAGE)
            .enumerate()
            .map(|(index, page)| (index * PAGE, page))
        {
            match (start, is_zero(page)) {
                (None, false) => start = Some(at),
                (Some(from), true) => {
                    file.write_all_at(&chunk[from..at], offset + from as u64)?;
                    start = None;
                }
                _ => {}
            }
        }
        if let Some(from) = start {
            file.write_all_at(&chunk[from..], offset + from as u64)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn nothing_has_its_name_before_all_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::open(folder.path(), &Quiet).unwrap();
        output.write("a.efi", b"content").unwrap();
        assert!(!folder.path().join("a.efi").exists());
        output.publish().unwrap();
        assert_eq!(fs::read(folder.path().join("a.efi")).unwrap(), b"content");
        assert_eq!(
            fs::metadata(folder.path().join("a.efi")).unwrap().mode() & 0o777,
            0o644
        );
    }

    #[test]
    fn a_killed_build_leaves_nothing_behind_the_next() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".bedplate-xyz"), b"half").unwrap();
        fs::write(folder.path().join("keep"), b"mine").unwrap();
        Output::open(folder.path(), &Quiet).unwrap();
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["keep"]);
    }

    #[test]
    fn the_turn_lasts_until_what_was_published_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::open(folder.path(), &Quiet).unwrap();
        output.write("a", b"content").unwrap();
        assert_eq!(output.publish().unwrap(), ["a"]);
        let lock = || {
            let other = File::open(folder.path()).unwrap();
            rustix::fs::flock(&other, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        };
        assert_eq!(lock(), Err(rustix::io::Errno::WOULDBLOCK));
        drop(output);
        assert_eq!(lock(), Ok(()));
    }

    #[test]
    fn an_abandoned_build_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::open(folder.path(), &Quiet).unwrap();
        output.write("a", b"content").unwrap();
        drop(output);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_disk_keeps_its_holes() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Sparse::new(100 << 20);
        disk.write_at(5 << 20, b"x").unwrap();
        let mut output = Output::open(folder.path(), &Quiet).unwrap();
        let written = output.write_sparse("a.raw", &disk).unwrap();
        assert_eq!(written.sha256, disk.sha256());
        output.publish().unwrap();
        let meta = fs::metadata(folder.path().join("a.raw")).unwrap();
        assert_eq!(meta.len(), 100 << 20);
        assert!(meta.blocks() * 512 < 1 << 20);
    }

    /// Says to the test below which folder is on the small disk, when it runs itself there.
    const SMALL_DISK: &str = "BEDPLATE_TEST_SMALL_DISK";

    #[test]
    fn a_full_disk_leaves_nothing_half_written() {
        if let Some(folder) = std::env::var_os(SMALL_DISK) {
            let folder = PathBuf::from(folder);
            fs::write(folder.join("a.raw"), b"the build before").unwrap();
            let mut output = Output::open(&folder, &Quiet).unwrap();
            let message = output
                .write("a.raw", &vec![1; 4 << 20])
                .unwrap_err()
                .to_string();
            assert!(message.contains("a.raw: the disk is full"), "{message}");
            drop(output);
            assert_eq!(fs::read(folder.join("a.raw")).unwrap(), b"the build before");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let script =
            "mount -t tmpfs -o size=1m small \"$1\" || exit 77; exec \"$2\" --exact \"$3\"";
        let ran = std::process::Command::new("unshare")
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(folder.path())
            .arg(std::env::current_exe().unwrap())
            .arg("output::tests::a_full_disk_leaves_nothing_half_written")
            .env(SMALL_DISK, folder.path())
            .output();
        match ran {
            Ok(ran) if ran.status.success() => {}
            Ok(ran) if String::from_utf8_lossy(&ran.stdout).contains("test result: FAILED") => {
                panic!("{}", String::from_utf8_lossy(&ran.stdout));
            }
            _ => eprintln!("skipped: this machine lets nobody mount a small disk"),
        }
    }
}
