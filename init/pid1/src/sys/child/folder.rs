//! Folders made for a service: made, moved to where they belong, and given to its user.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, Uid};
use rustix::io::Errno;

use super::Result;
use super::mount::failure;
use crate::unit::spawn::step::{Failure, Folder};

/// How deep the folders of a service may be within each other when they get another owner.
const MAX_DEPTH: u32 = 64;

/// Makes a folder; one that is there already is given its owner and mode, if we are to give any.
pub(super) fn make(folder: &Folder) -> Result {
    let path = folder.path.as_c_str();
    if let Some(other) = &folder.other {
        bring(path, other)?;
    }
    let mode = Mode::from_raw_mode(folder.mode);
    let made = match rustix::fs::mkdir(path, mode) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(failure(errno)),
    };
    let Some((uid, gid)) = folder.owner else {
        return Ok(());
    };
    let opened = open(rustix::fs::CWD, path)?;
    let owner = Owner { uid, gid };
    let status = rustix::fs::fstat(&opened).map_err(failure)?;
    if !made && (status.st_uid, status.st_gid) != (uid, gid) {
        owner.take_in(opened.as_fd(), MAX_DEPTH)?;
    }
    owner.take(opened.as_fd(), c"")?;
    rustix::fs::fchmod(&opened, mode).map_err(failure)?;
    match (&folder.other, &folder.link) {
        (Some(other), Some(target)) => link(target, other),
        _ => Ok(()),
    }
}

fn open(at: BorrowedFd<'_>, path: &CStr) -> std::result::Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty()).map_err(failure)
}

fn kind(path: &CStr) -> Option<FileType> {
    let status = rustix::fs::lstat(path).ok()?;
    Some(FileType::from_raw_mode(status.st_mode))
}

/// Brings a folder from its other place, if it stands there, and here is nothing but the link to it.
fn bring(path: &CStr, other: &CStr) -> Result {
    if kind(other) != Some(FileType::Directory) {
        return Ok(());
    }
    match kind(path) {
        Some(FileType::Symlink) => rustix::fs::unlink(path).map_err(failure)?,
        Some(_) => return Ok(()),
        None => {}
    }
    rustix::fs::rename(other, path).map_err(failure)
}

/// Leaves a link at the other place, unless something else stands there.
fn link(target: &CStr, other: &CStr) -> Result {
    match rustix::fs::symlink(target, other) {
        Err(Errno::EXIST) if kind(other) == Some(FileType::Symlink) => Ok(()),
        done => done.map_err(failure),
    }
}

/// Who a folder is given to.
#[derive(Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    fn take(self, at: BorrowedFd<'_>, name: &CStr) -> Result {
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::chownat(at, name, Some(uid), Some(gid), flags).map_err(failure)
    }

    /// Takes all that is in a folder, without following a link or leaving its file system.
    fn take_in(self, folder: BorrowedFd<'_>, depth: u32) -> Result {
        let within = depth.checked_sub(1).ok_or(Failure(libc::ELOOP))?;
        let device = rustix::fs::fstat(folder).map_err(failure)?.st_dev;
        let mut buffer = [std::mem::MaybeUninit::<u8>::uninit(); 2048];
        let reader = open(folder, c".")?;
        let mut entries = RawDir::new(&reader, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failure)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if entry.file_type() == FileType::Directory {
                let inner = open(folder, name)?;
                if rustix::fs::fstat(&inner).map_err(failure)?.st_dev == device {
                    self.take_in(inner.as_fd(), within)?;
                }
            }
            self.take(folder, name)?;
        }
        Ok(())
    }
}
