//! Credentials of a child, written into a file system that nobody else sees.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, OwnedFd, RawFd};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use spec_unit::plan::credential::MAX_CREDENTIAL;

use super::Result;
use super::mount::{borrow, failure};
use crate::unit::spawn::step::{CredentialText, Failure};

/// Writes one credential, if none of its name is there yet.
pub(super) fn write(tree: RawFd, name: &CStr, uid: u32, text: &CredentialText) -> Result {
    let tree = borrow(tree)?;
    let (paths, missing_ok) = match text {
        CredentialText::Given(_) => (&[][..], false),
        CredentialText::Files { paths, missing_ok } => (&paths[..], *missing_ok),
    };
    let source = match text {
        CredentialText::Given(_) => None,
        CredentialText::Files { .. } => match open(paths)? {
            None if missing_ok => return Ok(()),
            None => return Err(Failure(libc::ENOENT)),
            source => source,
        },
    };
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(tree, name, flags, Mode::from_raw_mode(0o400)) {
        Err(rustix::io::Errno::EXIST) => return Ok(()),
        file => file.map_err(failure)?,
    };
    match (source, text) {
        (Some(source), _) => copy(&source, &file)?,
        (None, CredentialText::Given(text)) => write_all(&file, text)?,
        (None, _) => {}
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o400)).map_err(failure)?;
    rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), None::<Gid>).map_err(failure)
}

/// Gives the folder itself to its user.
pub(super) fn give(tree: RawFd, uid: u32) -> Result {
    let tree = borrow(tree)?;
    let at = rustix::fs::AtFlags::EMPTY_PATH;
    rustix::fs::chownat(tree, c"", Some(Uid::from_raw(uid)), None::<Gid>, at).map_err(failure)
}

/// The first file that is there. A device or a fifo is none, and is not waited for.
fn open(paths: &[CString]) -> std::result::Result<Option<OwnedFd>, Failure> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    for path in paths {
        match rustix::fs::open(path.as_c_str(), flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
            Err(errno) => return Err(failure(errno)),
            Ok(file) => {
                let mode = rustix::fs::fstat(&file).map_err(failure)?.st_mode;
                return match rustix::fs::FileType::from_raw_mode(mode).is_file() {
                    true => Ok(Some(file)),
                    false => Err(Failure(libc::EINVAL)),
                };
            }
        }
    }
    Ok(None)
}

fn copy(source: &OwnedFd, file: &OwnedFd) -> Result {
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        let count = rustix::io::read(source, &mut buffer).map_err(failure)?;
        total += count;
        if total > MAX_CREDENTIAL {
            return Err(Failure(libc::EFBIG));
        }
        match buffer.get(..count) {
            None | Some([]) => return Ok(()),
            Some(bytes) => write_all(file, bytes)?,
        }
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result {
    while !bytes.is_empty() {
        let count = rustix::io::write(file.as_fd(), bytes).map_err(failure)?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}
