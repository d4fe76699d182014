//! Reaching a path without ever passing a symbolic link.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use spec_layout::glob;

/// Most paths that one pattern finds.
const MATCHES_MAX: usize = 65_536;
/// Deepest folder that is walked into.
pub(super) const DEPTH_MAX: usize = 64;

const FOLDER: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const ANY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The folder that all paths begin at.
pub(super) struct Root {
    fd: OwnedFd,
}

impl Root {
    pub(super) fn open(path: &Path) -> rustix::io::Result<Root> {
        Ok(Root {
            fd: rustix::fs::open(
                path,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?,
        })
    }

    /// The folder that holds the last part of `path`, and that part. Missing folders are made, 0755, if `make`.
    pub(super) fn parent<'a>(
        &self,
        path: &'a str,
        make: bool,
    ) -> Result<(OwnedFd, &'a str), String> {
        let (folders, name) = path.rsplit_once('/').ok_or("the path is not absolute")?;
        let mut at = self.fd.try_clone().map_err(|cause| cause.to_string())?;
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            at = step(&at, part, make).map_err(|cause| match cause {
                Errno::NOTDIR | Errno::LOOP => {
                    format!("\"{part}\" on the way is a link or a file, not a folder")
                }
                cause => format!("\"{part}\" on the way: {cause}"),
            })?;
        }
        Ok((at, name))
    }

    /// The file at `path` itself, be it a link; `None` if there is none.
    pub(super) fn find(&self, path: &str) -> Result<Option<Found>, String> {
        let (folder, name) = match self.parent(path, false) {
            Ok(parent) => parent,
            Err(why) if why.ends_with(&Errno::NOENT.to_string()) => return Ok(None),
            Err(why) => return Err(why),
        };
        Found::at(&folder, name).map_err(|cause| cause.to_string())
    }

    /// Existing paths that `pattern` means; a plain path means itself. In name order.
    pub(super) fn matches(&self, pattern: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            let mut next = Vec::new();
            for base in &found {
                if !glob::is_pattern(part) {
                    next.push(format!("{base}/{part}"));
                } else if next.len() < MATCHES_MAX {
                    next.extend(
                        self.names(base)
                            .into_iter()
                            .filter(|name| fits(part, name))
                            .map(|name| format!("{base}/{name}")),
                    );
                }
            }
            found = next;
        }
        found.retain(|path| matches!(self.find(path), Ok(Some(_))));
        found
    }

    /// Names in a folder; none if it is not one.
    fn names(&self, folder: &str) -> Vec<String> {
        let open = || -> Option<OwnedFd> {
            if folder.is_empty() {
                return self.fd.try_clone().ok();
            }
            let (parent, name) = self.parent(folder, false).ok()?;
            rustix::fs::openat(parent, name, FOLDER, Mode::empty()).ok()
        };
        let mut names = open().map(|folder| list(&folder)).unwrap_or_default();
        names.sort();
        names
    }
}

/// A pattern finds a hidden file only if it begins with a dot itself.
fn fits(pattern: &str, name: &str) -> bool {
    (!name.starts_with('.') || pattern.starts_with('.')) && glob::matches(pattern, name)
}

fn step(at: &OwnedFd, part: &str, make: bool) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::openat(at, part, FOLDER, Mode::empty()) {
        Err(Errno::NOENT) if make => {
            match rustix::fs::mkdirat(at, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(cause) => return Err(cause),
            }
            rustix::fs::openat(at, part, FOLDER, Mode::empty())
        }
        other => other,
    }
}

/// Names in a folder, without `.` and `..`; names that are not UTF-8 are left out.
pub(super) fn list(folder: &OwnedFd) -> Vec<String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(folder, ".", flags, Mode::empty());
    let entries = readable.and_then(Dir::new).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    names.filter(|name| name != "." && name != "..").collect()
}

/// A file held open without being opened: nobody can exchange it for another one any more.
pub(super) struct Found {
    pub(super) fd: OwnedFd,
    pub(super) stat: Stat,
}

impl Found {
    /// The file `name` in `folder`, be it a link.
    pub(super) fn at(folder: impl AsFd, name: &str) -> rustix::io::Result<Option<Found>> {
        match rustix::fs::openat(folder, name, ANY, Mode::empty()) {
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd)?;
                Ok(Some(Found { fd, stat }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// A path that reaches this very file, for calls that take no such descriptor.
    pub(super) fn by_fd(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }
}

/// Removes `name` from `folder`, with all below it if `all`; never across a mount.
pub(super) fn remove(
    folder: &OwnedFd,
    name: &str,
    all: bool,
    depth: usize,
) -> rustix::io::Result<()> {
    let Some(found) = Found::at(folder, name)? else {
        return Ok(());
    };
    if found.kind() != FileType::Directory {
        return rustix::fs::unlinkat(folder, name, AtFlags::empty());
    }
    if all {
        empty(folder, name, depth)?;
    }
    rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)
}

/// Removes what is in the folder `name`.
pub(super) fn empty(folder: &OwnedFd, name: &str, depth: usize) -> rustix::io::Result<()> {
    let inner = rustix::fs::openat(folder, name, FOLDER, Mode::empty())?;
    if depth == 0 || rustix::fs::fstat(&inner)?.st_dev != rustix::fs::fstat(folder)?.st_dev {
        return Err(Errno::XDEV);
    }
    list(&inner)
        .iter()
        .try_for_each(|name| remove(&inner, name, true, depth - 1))
}
