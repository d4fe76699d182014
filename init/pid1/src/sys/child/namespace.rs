//! Namespaces of a child besides that of its mounts: unshare(2), setns(2), user_namespaces(7).

use std::ffi::{CStr, c_int};
use std::os::fd::{AsRawFd as _, RawFd};

use rustix::fs::{Mode, OFlags};

use super::mount::{borrow, failure};
use super::{Result, check};
use crate::unit::spawn::step::Failure;

pub(super) fn unshare(kind: c_int) -> Result {
    // SAFETY: takes no pointer.
    check(unsafe { libc::unshare(kind) }).map(drop)
}

/// Enters the namespace that a file refers to.
pub(super) fn join(path: &CStr, kind: c_int) -> Result {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(failure)?;
    // SAFETY: takes no pointer.
    check(unsafe { libc::setns(file.as_raw_fd(), kind) }).map(drop)
}

/// Hands PID 1 a namespace of this process, so that the unit's other processes can join it.
pub(super) fn tell(socket: RawFd, path: &CStr, letter: u8) -> Result {
    let file =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failure)?;
    crate::sys::message::send(socket, letter, file.as_raw_fd())
        .map_err(|cause| Failure(cause.raw_os_error().unwrap_or(libc::EIO)))
}

/// Brings the loopback link of a new network up.
pub(super) fn loopback() -> Result {
    // SAFETY: ifreq is plain data for which zero is valid; it outlives the calls; the descriptor is our own.
    unsafe {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        let socket = check(libc::socket(libc::AF_INET, kind, 0))?;
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let done = check(libc::ioctl(
            socket,
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        ));
        libc::close(socket);
        done.map(drop)
    }
}

/// `/proc/self`, to be kept while other file systems are mounted over it.
pub(super) fn own_folder() -> std::result::Result<RawFd, Failure> {
    use std::os::fd::IntoRawFd as _;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(c"/proc/self", flags, Mode::empty()).map_err(failure)?;
    // Above the numbers that the program may be handed.
    let lifted = rustix::io::fcntl_dupfd_cloexec(&folder, crate::sys::clone::LIFTED);
    Ok(lifted.map_err(failure)?.into_raw_fd())
}

/// A user namespace with these maps. A child of this child writes them, which is still of the namespace outside: within,
/// no more than one line could be written.
pub(super) fn users(own_folder: RawFd, maps: [&[u8]; 2]) -> Result {
    let folder = borrow(own_folder)?;
    let (ready, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failure)?;
    // SAFETY: takes no pointer that is used. The child has a copy of this memory, does system calls only, and ends in
    // _exit.
    let helper =
        check(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as c_int)?;
    if helper == 0 {
        drop(go);
        // The other end closes when the namespace is there, or with its process.
        let _ = rustix::io::read(&ready, &mut [0u8; 1]);
        let [uid, gid] = maps;
        let done = write(folder, c"uid_map", uid).and_then(|()| write(folder, c"gid_map", gid));
        let code = done.err().map_or(0, |Failure(errno)| errno);
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(code) }
    }
    drop(ready);
    let made = unshare(libc::CLONE_NEWUSER);
    drop(go);
    let mut status = 0;
    // SAFETY: the number outlives the call; there is no other child of this process.
    let waited = check(unsafe { libc::waitpid(helper, &raw mut status, 0) });
    made?;
    waited?;
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 0) => Ok(()),
        (true, errno) => Err(Failure(errno)),
        (false, _) => Err(Failure(libc::EIO)),
    }
}

fn write(folder: std::os::fd::BorrowedFd<'_>, name: &CStr, text: &[u8]) -> Result {
    let file = rustix::fs::openat(
        folder,
        name,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(failure)?;
    rustix::io::write(&file, text).map(drop).map_err(failure)
}
