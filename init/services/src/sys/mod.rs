//! Every `unsafe` of the node services, each behind a safe function that states why it is sound.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

pub(crate) mod interface;
pub(crate) mod packet;

/// Takes a descriptor that PID 1 passed across exec (`LISTEN_FDS`), close-on-exec from now on.
///
/// `None` where nothing is open under that number. Each number may be taken once, by the one caller in
/// [`crate::notify`].
pub(crate) fn take_inherited_fd(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl on a number that may be closed only fails with EBADF.
    let found = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    if found < 0 {
        return None;
    }
    // SAFETY: the descriptor is open, came from exec and nobody else in this process owns its number.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
