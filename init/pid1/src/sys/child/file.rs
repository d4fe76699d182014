//! Files that a program is handed open.

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{AsRawFd as _, IntoRawFd as _, RawFd};

use rustix::fs::{FileType, Mode, OFlags};

use super::check;
use super::mount::failure;
use crate::sys::clone::LIFTED;
use crate::unit::spawn::step::Failure;

/// Kinds of sockets that may listen at a path.
const KINDS: [c_int; 3] = [libc::SOCK_DGRAM, libc::SOCK_STREAM, libc::SOCK_SEQPACKET];

/// Opens a file, or connects to the socket that is there. Its number is above those that the program is handed.
pub(super) fn open(path: &CStr, flags: c_int) -> Result<RawFd, Failure> {
    let at = OFlags::PATH | OFlags::CLOEXEC;
    let found = rustix::fs::open(path, at, Mode::empty()).map_err(failure)?;
    let status = rustix::fs::fstat(&found).map_err(failure)?;
    let opened = if FileType::from_raw_mode(status.st_mode) == FileType::Socket {
        connect(path)?
    } else {
        // SAFETY: the path ends in NUL.
        check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC | libc::O_NOCTTY) })?
    };
    let opened = super::mount::borrow(opened)?;
    let lifted = rustix::io::fcntl_dupfd_cloexec(opened, LIFTED).map_err(failure)?;
    // SAFETY: it was opened here and is not used again.
    unsafe { libc::close(opened.as_raw_fd()) };
    Ok(lifted.into_raw_fd())
}

fn connect(path: &CStr) -> Result<RawFd, Failure> {
    // SAFETY: sockaddr_un is plain data for which zero is valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.to_bytes_with_nul();
    if bytes.len() > address.sun_path.len() {
        return Err(Failure(libc::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as c_char;
    }
    let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    let mut last = Failure(libc::EPROTOTYPE);
    for kind in KINDS {
        // SAFETY: the address has the length of its type; the descriptor is our own.
        unsafe {
            let socket = check(libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0))?;
            match check(libc::connect(socket, (&raw const address).cast(), length)) {
                Ok(_) => return Ok(socket),
                Err(failure) => last = failure,
            }
            libc::close(socket);
        }
        if last.0 != libc::EPROTOTYPE {
            break;
        }
    }
    Err(last)
}
