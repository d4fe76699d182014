//! Where a cluster of this machine lives: `$XDG_DATA_HOME/bedplate/clusters/NAME`, 0700.
//!
//! `qemu_tests::Cluster` keeps its own files there. Beside them stand the daemon's: `daemon.sock` (control),
//! `daemon.pid` (process id and start time), `daemon.log`.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::exit::{Context, Error};

/// The folder of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClusterFolder {
    name: String,
    path: PathBuf,
}

impl ClusterFolder {
    /// That of the user's cluster with this name; nothing is made.
    pub(crate) fn of(name: &str) -> Result<Self, Error> {
        Self::below(&data()?, name)
    }

    /// That of the cluster with this name below a data folder.
    pub(crate) fn below(data: &Path, name: &str) -> Result<Self, Error> {
        check(name)?;
        Ok(Self {
            name: name.to_owned(),
            path: data.join("bedplate/clusters").join(name),
        })
    }

    /// The cluster's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A cluster was made here once and not wiped.
    pub(crate) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Makes the folder, for its owner alone.
    pub(crate) fn make(&self) -> Result<(), Error> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .context(format!("cannot make {}", self.path.display()))
    }

    /// Removes it with everything in it.
    pub(crate) fn wipe(&self) -> Result<(), Error> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Failed(format!(
                "cannot remove {}: {error}",
                self.path.display()
            ))),
            _ => Ok(()),
        }
    }

    /// The daemon's control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("daemon.sock")
    }

    /// Who the daemon is.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.path.join("daemon.pid")
    }

    /// What the daemon says.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("daemon.log")
    }
}

/// A cluster's name begins its nodes' hostnames, so it follows the rules of one (RFC 1123), with room for `-64`.
fn check(name: &str) -> Result<(), Error> {
    let shape = name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if shape && name.len() <= 32 {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "\"{}\" cannot be a cluster's name: a letter, then letters, digits and dashes, all small, at most 32",
        name.escape_debug()
    )))
}

/// The user's data folder, by the XDG base directory specification.
fn data() -> Result<PathBuf, Error> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/share")))
        .ok_or_else(|| {
            Error::Failed(
                "neither XDG_DATA_HOME nor HOME names a folder to keep clusters in".into(),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_hostname_and_never_a_path() {
        for good in ["dev", "a", "blue-2"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-dev",
            "dev-",
            "Dev",
            "2dev",
            "../dev",
            "a/b",
            "a b",
            "ä",
            &"a".repeat(33),
        ] {
            assert!(matches!(check(bad), Err(Error::Usage(_))), "{bad}");
        }
    }
}
