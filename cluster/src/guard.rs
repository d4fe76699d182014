//! `cluster etcd-guard`: looks at etcd's data before each start of etcd and after each end, as etcd's user
//! (ExecStartPre=, ExecStopPost=).
//!
//! - Data that was started and has no log any more is not started on: etcd would begin it anew and vote twice. It is
//!   marked, and the master has the member replaced.
//! - Data that a newer minor version has written is not started on: etcd cannot go back.
//! - Before a newer minor version first starts on older data, the data is copied to `member-N.before-MAJOR.MINOR`.
//! - Once a member is confirmed, the data of the members before it is removed.
//!
//! PID 1 reads the environment anew for each command, so that etcd may start on the generation after the one that was
//! looked at. That is only ever a learner's: before it may vote, its log is on the disk, and each later start looks at
//! it. A generation that begins a cluster follows a lost one, which is refused.
//!
//! What it keeps beside the data is told in [`crate::data`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use client::key_file::{self, SECRET};
use spec_layout::path::PACKAGES;

use crate::data::{beside, first_file, lost_file, started_file};

/// Debian's etcd.
const ETCD: &str = "/usr/bin/etcd";
/// Its package.
const PACKAGE: &str = "etcd-server";
/// Set by the EnvironmentFile that the master has written: the data folder, and whether a quorum has seen it run.
const DATA_DIR: &str = "ETCD_DATA_DIR";
pub(crate) const CONFIRMED: &str = "BEDPLATE_ETCD_CONFIRMED";
/// PID 1 sets it, the same for all commands of one start.
const INVOCATION: &str = "INVOCATION_ID";
/// The argument after etcd has ended.
const ENDED: &str = "ended";
/// Deepest folder that is copied; etcd's is `member/wal`.
const MAX_DEPTH: usize = 8;

/// A release of etcd, as far as its data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
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
pub(crate) fn main(args: &[String]) -> ExitCode {
    crate::logging::start("etcd-guard");
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            log::error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// One start of etcd, as its environment tells it.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// The data folder.
    pub(crate) data: PathBuf,
    /// A quorum has seen it run.
    pub(crate) confirmed: bool,
    /// Which start it is.
    pub(crate) invocation: String,
}

impl Start {
    fn of_environment() -> Result<Self, String> {
        let set_by = |name, who| move || format!("{name} is not set; {who} does that");
        let data = std::env::var_os(DATA_DIR).map(PathBuf::from);
        Ok(Self {
            data: data.ok_or_else(set_by(DATA_DIR, "bedplate-etcd.service"))?,
            confirmed: std::env::var(CONFIRMED).is_ok_and(|value| value == "true"),
            invocation: std::env::var(INVOCATION).map_err(|_| set_by(INVOCATION, "PID 1")())?,
        })
    }
}

fn run(args: &[String]) -> Result<(), String> {
    let start = Start::of_environment()?;
    match args {
        [] => before_start(&start, installed_version),
        [word] if word == ENDED => ended(&start),
        _ => Err(format!("etcd-guard takes nothing or `{ENDED}`")),
    }
}

/// What the image's list of packages says, because asking etcd takes as long as starting it; where that does not tell,
/// what etcd says itself.
fn installed_version() -> Result<Version, String> {
    let packages = fs::read_to_string(PACKAGES).unwrap_or_default();
    if let Some(version) = packaged_version(&packages) {
        return Ok(version);
    }
    let said = Command::new(ETCD)
        .arg("--version")
        .output()
        .map_err(|error| format!("{ETCD}: {error}"))?;
    version_of(&String::from_utf8_lossy(&said.stdout))
}

/// Upstream's version of Debian's package, which may have an epoch before it (deb-version(7)). None of a package that
/// was changed in the image, and none of a `+really` version, which is not what it begins with.
fn packaged_version(packages: &str) -> Option<Version> {
    let mut lines = packages.lines().map(|line| line.split(' '));
    let mut words = lines.find_map(|mut words| (words.next()? == PACKAGE).then_some(words))?;
    let (version, None) = (words.next()?, words.next()) else {
        return None;
    };
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    upstream
        .parse()
        .ok()
        .filter(|_| !version.contains("really"))
}

/// Reads `etcd --version`.
fn version_of(said: &str) -> Result<Version, String> {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("etcd Version: "));
    line.ok_or_else(|| format!("{ETCD} --version does not say `etcd Version:`"))?
        .parse()
}

/// Looks at the data; etcd may start if this says so.
pub(crate) fn before_start(
    start: &Start,
    version: impl FnOnce() -> Result<Version, String>,
) -> Result<(), String> {
    let data = start.data.as_path();
    let told = |error: io::Error| format!("{}: {error}", data.display());
    let started = started_file(data);
    let written = match fs::read_to_string(&started) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(format!("{}: {error}", started.display())),
    };
    let first = !has_log(data).map_err(told)?;
    // Before all that may fail: whatever comes, the loss is noted.
    if first
        && (start.confirmed || written.is_some() || may_have_been_started(data).map_err(told)?)
    {
        key_file::write(&lost_file(data), b"", SECRET).map_err(told)?;
        return Err(format!(
            "{} was started and has no log any more: the member is to be replaced",
            data.display()
        ));
    }
    let ours = version()?;
    if first {
        key_file::write(&first_file(data), start.invocation.as_bytes(), SECRET).map_err(told)?;
    } else {
        check_version(data, written.as_deref(), ours)?;
        // It has come back.
        remove(&lost_file(data)).map_err(told)?;
    }
    // From here on there may be votes in it.
    if written != Some(format!("{ours}\n")) {
        key_file::write(&started, format!("{ours}\n").as_bytes(), SECRET).map_err(told)?;
    }
    if start.confirmed {
        remove_replaced(data).map_err(told)?;
    }
    Ok(())
}

fn may_have_been_started(data: &Path) -> io::Result<bool> {
    Ok(data.try_exists()? || lost_file(data).try_exists()?)
}

/// etcd ended. Where its first start has not come to make its log, it has not voted: the next start is again the
/// first one.
pub(crate) fn ended(start: &Start) -> Result<(), String> {
    let data = start.data.as_path();
    let told = |error: io::Error| format!("{}: {error}", data.display());
    let log = data.join("member/wal").try_exists().map_err(told)?;
    let lost = lost_file(data).try_exists().map_err(told)?;
    if start.confirmed || log || lost || !was_first(start).map_err(told)? {
        return Ok(());
    }
    log::info!("etcd ended before it wrote anything to {}", data.display());
    for gone in [data, &started_file(data), &first_file(data)] {
        remove(gone).map_err(told)?;
    }
    Ok(())
}

/// Whether this very start was the data's first one. What an earlier start has left is not taken back.
fn was_first(start: &Start) -> io::Result<bool> {
    match fs::read(first_file(&start.data)) {
        Ok(invocation) => Ok(invocation == start.invocation.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether etcd's log is there, which etcd makes before all else, and at one stroke.
fn has_log(data: &Path) -> io::Result<bool> {
    match fs::read_dir(data.join("member/wal")) {
        Ok(entries) => has_wal(entries.map(|entry| entry.map(|entry| entry.path()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A folder that cannot be read to its end is no empty one.
fn has_wal(paths: impl Iterator<Item = io::Result<PathBuf>>) -> io::Result<bool> {
    for path in paths {
        if path?.extension().is_some_and(|end| end == "wal") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Data is never started on by an older minor version, and by a newer one only after a copy.
fn check_version(data: &Path, written: Option<&str>, ours: Version) -> Result<(), String> {
    let Some(written) = written else {
        return Ok(());
    };
    let written: Version = written
        .parse()
        .map_err(|reason| format!("{}: {reason}", started_file(data).display()))?;
    if written > ours {
        return Err(format!(
            "the data in {} was written by etcd {written}, this image has {ours}: boot the newer image again, or \
             remove the data, and this node is replaced in its cluster",
            data.display()
        ));
    }
    if written < ours {
        let copy = beside(data, &format!(".before-{ours}"));
        log::info!(
            "etcd {ours} starts for the first time on data of {written}: kept in {}",
            copy.display()
        );
        keep_copy(data, &copy).map_err(|error| format!("{}: {error}", copy.display()))?;
    }
    Ok(())
}

/// Removes the data of other generations, and all that is kept beside it.
fn remove_replaced(data: &Path) -> io::Result<()> {
    let (Some(parent), Some(own)) = (data.parent(), data.file_name()) else {
        return Ok(());
    };
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let folder = name.split('.').next().unwrap_or_default();
        let number = folder.strip_prefix("member-").unwrap_or_default();
        let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if numbered && *own != *folder {
            log::info!(
                "removing what is left of a replaced member: {}",
                entry.path().display()
            );
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file or a folder that may not be there.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies the data whole or not at all; a copy that is there already is that of the first attempt.
fn keep_copy(data: &Path, copy: &Path) -> io::Result<()> {
    if copy.try_exists()? {
        return Ok(());
    }
    let partial = copy.with_extension("partial");
    remove(&partial)?;
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
mod tests;
