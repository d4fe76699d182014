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

pub(super) fn enter(namespace: RawFd, kind: c_int) -> Result {
    // SAFETY: takes no pointer.
    check(unsafe { libc::setns(namespace, kind) }).map(drop)
}

/// A user namespace with these maps, to be entered later. A child of this child is born in it and shares the
/// descriptors: it opens the namespace, and the folder in /proc in which this process, which is still outside, writes
/// the maps. Within, no more than one line could be written; and /proc may number processes otherwise than they do here.
pub(super) fn users(maps: [&[u8]; 2]) -> std::result::Result<RawFd, Failure> {
    let (opened, tell) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failure)?;
    let (wait, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failure)?;
    let flags = libc::SIGCHLD | libc::CLONE_FILES | libc::CLONE_NEWUSER;
    // SAFETY: takes no pointer that is used. The child has a copy of this memory, does system calls only, and ends in
    // _exit without closing what it shares.
    let helper = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } as c_int)?;
    if helper == 0 {
        // SAFETY: takes no pointer. It ends with this child, whatever becomes of that.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let told = open_own().unwrap_or_else(|Failure(errno)| [-1, errno]);
        let [a, b] = told.map(i32::to_ne_bytes);
        let _ = rustix::io::write(&tell, [a, b].as_flattened());
        let _ = rustix::io::read(&wait, &mut [0u8; 1]);
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(0) }
    }
    let made = mapped(&opened, maps);
    let _ = rustix::io::write(&end, &[0]);
    let mut status = 0;
    // SAFETY: the number outlives the call; there is no other child of this process.
    check(unsafe { libc::waitpid(helper, &raw mut status, 0) })?;
    made
}

/// The user namespace of this process, above the numbers that the program may be handed, and its folder in /proc.
fn open_own() -> std::result::Result<[RawFd; 2], Failure> {
    use std::os::fd::IntoRawFd as _;
    let open = |path: &CStr, flags| rustix::fs::open(path, flags, Mode::empty()).map_err(failure);
    let namespace = open(c"/proc/self/ns/user", OFlags::RDONLY | OFlags::CLOEXEC)?;
    let lifted = rustix::io::fcntl_dupfd_cloexec(&namespace, crate::sys::clone::LIFTED);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(c"/proc/self", flags)?;
    Ok([lifted.map_err(failure)?.into_raw_fd(), folder.into_raw_fd()])
}

/// Writes the maps of the namespace that was opened; its descriptor.
fn mapped(opened: &std::os::fd::OwnedFd, maps: [&[u8]; 2]) -> std::result::Result<RawFd, Failure> {
    let mut told = [[0u8; 4]; 2];
    let length = rustix::io::read(opened, told.as_flattened_mut()).map_err(failure)?;
    let [namespace, folder] = told.map(i32::from_ne_bytes);
    if length != 8 || namespace < 0 {
        return Err(Failure(if length == 8 { folder } else { libc::EIO }));
    }
    let at = borrow(folder)?;
    let [uid, gid] = maps;
    write(at, c"uid_map", uid)?;
    write(at, c"gid_map", gid)?;
    // SAFETY: the helper has opened it for this process and does not use it.
    unsafe { libc::close(folder) };
    Ok(namespace)
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
