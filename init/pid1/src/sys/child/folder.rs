//! Folders made for a service: made, moved to where they belong, and given to its user.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, ResolveFlags, Uid};
use rustix::io::Errno;

use super::Result;
use super::mount::failure;
use crate::unit::spawn::step::{Failure, Folder, Path};

/// How deep the folders of a service may be within each other when they get another owner.
const MAX_DEPTH: u32 = 64;

/// Makes a folder; one that is there already is given its owner and mode, if we are to give any.
pub(super) fn make(folder: &Folder) -> Result {
    let own = Spot::open(&folder.path)?;
    let other = match folder.other.as_ref().map(Spot::open).transpose() {
        // Its other place may be in a folder that is not there.
        Err(Failure(libc::ENOENT)) => None,
        other => other?,
    };
    if let Some(other) = &other {
        bring(&own, other)?;
    }
    let mode = Mode::from_raw_mode(folder.mode);
    let made = match rustix::fs::mkdirat(&own.folder, own.name, mode) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(failure(errno)),
    };
    let Some((uid, gid)) = folder.owner else {
        return Ok(());
    };
    let opened = open(own.folder.as_fd(), own.name)?;
    let owner = Owner { uid, gid };
    let status = rustix::fs::fstat(&opened).map_err(failure)?;
    if !made && folder.with_content && (status.st_uid, status.st_gid) != (uid, gid) {
        owner.take_in(opened.as_fd(), MAX_DEPTH)?;
    }
    owner.take(opened.as_fd(), c"")?;
    rustix::fs::fchmod(&opened, mode).map_err(failure)?;
    match (&other, &folder.link) {
        (Some(other), Some(target)) => link(target, other),
        _ => Ok(()),
    }
}

/// A name in a folder that was reached without following a link: whoever owns a part of the path cannot lead elsewhere.
struct Spot<'a> {
    folder: OwnedFd,
    name: &'a CStr,
}

impl<'a> Spot<'a> {
    fn open(path: &'a Path) -> std::result::Result<Self, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let straight = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let at = rustix::fs::CWD;
        let folder =
            rustix::fs::openat2(at, path.folder.as_c_str(), flags, Mode::empty(), straight);
        Ok(Self {
            folder: folder.map_err(failure)?,
            name: &path.name,
        })
    }

    fn kind(&self) -> Option<FileType> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let status = rustix::fs::statat(&self.folder, self.name, nofollow).ok()?;
        Some(FileType::from_raw_mode(status.st_mode))
    }
}

fn open(at: BorrowedFd<'_>, path: &CStr) -> std::result::Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty()).map_err(failure)
}

/// Brings a folder from its other place, if it stands there, and here is nothing but the link to it.
fn bring(own: &Spot<'_>, other: &Spot<'_>) -> Result {
    if other.kind() != Some(FileType::Directory) {
        return Ok(());
    }
    match own.kind() {
        Some(FileType::Symlink) => {
            rustix::fs::unlinkat(&own.folder, own.name, AtFlags::empty()).map_err(failure)?;
        }
        Some(_) => return Ok(()),
        None => {}
    }
    rustix::fs::renameat(&other.folder, other.name, &own.folder, own.name).map_err(failure)
}

/// Leaves a link at the other place, unless something else stands there.
fn link(target: &CStr, other: &Spot<'_>) -> Result {
    match rustix::fs::symlinkat(target, &other.folder, other.name) {
        Err(Errno::EXIST) if other.kind() == Some(FileType::Symlink) => Ok(()),
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
            let nofollow = AtFlags::SYMLINK_NOFOLLOW;
            let status = rustix::fs::statat(folder, name, nofollow).map_err(failure)?;
            if status.st_dev != device {
                continue;
            }
            if FileType::from_raw_mode(status.st_mode).is_dir() {
                self.take_in(open(folder, name)?.as_fd(), within)?;
            }
            self.take(folder, name)?;
        }
        Ok(())
    }
}
