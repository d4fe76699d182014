//! `cluster etcd-guard`: looks at etcd's data before each start of etcd, as etcd's user (ExecStartPre=).
//!
//! - Data that a newer minor version has written is not started on: etcd cannot go back.
//! - Before a newer minor version first starts on older data, the data is copied to `before-MAJOR.MINOR`.
//! - Data folders of members that were replaced are removed.
//!
//! The version is kept in the file `version` beside the data folders.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use client::key_file::{self, SECRET};

/// Debian's etcd.
const ETCD: &str = "/usr/bin/etcd";
/// Set by the EnvironmentFile that the master has written.
const DATA_DIR: &str = "ETCD_DATA_DIR";
/// Deepest folder that is copied; etcd's is `member/wal`.
const MAX_DEPTH: usize = 8;

/// A release of etcd, as far as its data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl std::str::FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.trim().split('.');
        let mut number = || parts.next().and_then(|part| part.parse().ok());
        match (number(), number()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(format!("{:?} is not a version of etcd", text.trim())),
        }
    }
}

/// Guards once; not success means that etcd must not start.
pub(crate) fn main(_args: &[String]) -> ExitCode {
    crate::logging::start("etcd-guard");
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            log::error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let data = std::env::var_os(DATA_DIR).map(PathBuf::from);
    let data =
        data.ok_or_else(|| format!("{DATA_DIR} is not set; bedplate-etcd.service writes it"))?;
    let said = Command::new(ETCD)
        .arg("--version")
        .output()
        .map_err(|error| format!("{ETCD}: {error}"))?;
    guard(&data, version_of(&String::from_utf8_lossy(&said.stdout))?)
}

/// Reads `etcd --version`.
fn version_of(said: &str) -> Result<Version, String> {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("etcd Version: "));
    line.ok_or_else(|| format!("{ETCD} --version does not say `etcd Version:`"))?
        .parse()
}

fn guard(data: &Path, ours: Version) -> Result<(), String> {
    let parent = data
        .parent()
        .ok_or_else(|| format!("{} has no parent", data.display()))?;
    let file = parent.join("version");
    let written = match fs::read_to_string(&file) {
        Ok(text) => Some(
            text.parse::<Version>()
                .map_err(|reason| format!("{}: {reason}", file.display()))?,
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(format!("{}: {error}", file.display())),
    };
    let told = |error: io::Error| format!("{}: {error}", parent.display());
    remove_replaced(parent, data).map_err(told)?;
    match written {
        Some(written) if written > ours => {
            return Err(format!(
                "the data in {} was written by etcd {written}, this image has {ours}: boot the newer image again, or \
                 remove the data, and this node is replaced in its cluster",
                parent.display()
            ));
        }
        Some(written) if written < ours && data.exists() => {
            let copy = parent.join(format!("before-{ours}"));
            log::info!(
                "etcd {ours} starts for the first time on data of {written}: kept in {}",
                copy.display()
            );
            keep_copy(data, &copy).map_err(told)?;
        }
        _ => {}
    }
    if written != Some(ours) {
        key_file::write(&file, format!("{ours}\n").as_bytes(), SECRET).map_err(told)?;
    }
    Ok(())
}

/// Removes the folders `member-N` other than the one in use.
fn remove_replaced(parent: &Path, data: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(|name| name.strip_prefix("member-")) else {
            continue;
        };
        let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if numbered && entry.path() != data && entry.file_type()?.is_dir() {
            log::info!(
                "removing the data of a replaced member: {}",
                entry.path().display()
            );
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Copies the data whole or not at all; a copy that is there already is that of the first attempt.
fn keep_copy(data: &Path, copy: &Path) -> io::Result<()> {
    if copy.exists() {
        return Ok(());
    }
    let partial = copy.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    copy_folder(data, &partial, MAX_DEPTH)?;
    fs::rename(&partial, copy)
}

fn copy_folder(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::other(format!(
            "{} is nested too deep",
            from.display()
        )));
    }
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folder(&entry.path(), &target, depth - 1)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
            fs::File::open(&target)?.sync_all()?;
        }
    }
    fs::File::open(to)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V35: Version = Version { major: 3, minor: 5 };
    const V36: Version = Version { major: 3, minor: 6 };

    /// A data folder with a log in it.
    fn data(folder: &Path, generation: u32) -> PathBuf {
        let data = folder.join(format!("member-{generation}"));
        fs::create_dir_all(data.join("member/wal")).unwrap();
        fs::write(data.join("member/wal/0.wal"), b"votes").unwrap();
        data
    }

    #[test]
    fn the_version_is_read_from_etcds_own_words() {
        let said = "etcd Version: 3.5.16\nGit SHA: Not provided\nGo Version: go1.24.0\n";
        assert_eq!(version_of(said), Ok(V35));
        assert!(version_of("").is_err() && version_of("etcd Version: three").is_err());
    }

    #[test]
    fn the_first_start_notes_its_version() {
        let folder = tempfile::tempdir().unwrap();
        guard(&folder.path().join("member-1"), V35).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join("version")).unwrap(),
            "3.5\n"
        );
    }

    #[test]
    fn data_of_a_newer_minor_version_is_not_started_on() {
        let folder = tempfile::tempdir().unwrap();
        let data = data(folder.path(), 1);
        guard(&data, V36).unwrap();
        let refused = guard(&data, V35).unwrap_err();
        assert!(
            refused.contains("written by etcd 3.6, this image has 3.5"),
            "{refused}"
        );
        assert_eq!(
            fs::read_to_string(folder.path().join("version")).unwrap(),
            "3.6\n"
        );
    }

    #[test]
    fn a_newer_version_starts_after_a_copy_of_the_data() {
        let folder = tempfile::tempdir().unwrap();
        let data = data(folder.path(), 1);
        guard(&data, V35).unwrap();
        fs::create_dir(folder.path().join("before-3.partial")).unwrap();
        guard(&data, V36).unwrap();
        let kept = folder.path().join("before-3.6/member/wal/0.wal");
        assert_eq!(fs::read(&kept).unwrap(), b"votes");
        fs::write(data.join("member/wal/0.wal"), b"more votes").unwrap();
        guard(&data, V36).unwrap();
        assert_eq!(fs::read(&kept).unwrap(), b"votes");
    }

    #[test]
    fn data_of_replaced_members_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (data(folder.path(), 1), data(folder.path(), 2));
        fs::create_dir(folder.path().join("member-x")).unwrap();
        guard(&new, V35).unwrap();
        assert!(!old.exists() && new.exists() && folder.path().join("member-x").exists());
    }

    #[test]
    fn a_version_file_that_is_garbage_stops_etcd() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("version"), b"\xffgarbage").unwrap();
        assert!(guard(&data(folder.path(), 1), V35).is_err());
    }
}
