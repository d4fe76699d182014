//! Between the process that opens a disk image and the child that asked it to: one packet, [`crate::image`].

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use super::message;
use crate::image::{DONE, FAILED, TOLD_BYTES, told};
use crate::unit::spawn::step::Failure;

/// The program that opens images: this one, whatever stands at its path by now.
const PROGRAM: &std::ffi::CStr = c"/proc/self/exe";

/// Answers with a mount, or with why there is none.
pub(crate) fn answer(socket: BorrowedFd<'_>, mount: Result<OwnedFd, String>) -> io::Result<()> {
    let cause = match mount {
        Ok(mount) => return message::send(socket.as_raw_fd(), DONE, mount.as_raw_fd()),
        Err(cause) => cause,
    };
    let packet = told(&cause);
    let flags = rustix::net::SendFlags::NOSIGNAL;
    rustix::net::send(socket, &packet, flags)?;
    Ok(())
}

/// Has a request carried out by a process of its own, and gives the mount. Why there is none goes on to PID 1. System
/// calls only: for a child between clone and exec.
pub(super) fn open(arguments: &[CString; 3], report: RawFd) -> Result<RawFd, Failure> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let failure = |errno: rustix::io::Errno| Failure(errno.raw_os_error());
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (own, other) = socketpair(family, kind, SocketFlags::CLOEXEC, None).map_err(failure)?;
    let [name, command, request] = arguments;
    let argv = [
        name.as_ptr(),
        command.as_ptr(),
        request.as_ptr(),
        std::ptr::null(),
    ];
    // SAFETY: takes no pointer that is used. The new process has a copy of this memory, does system calls only, and
    // ends in exec or _exit. Every string ends in NUL, both vectors end in null, and all outlive the call.
    let helper = unsafe {
        let helper = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        if helper == 0 {
            if libc::dup2(other.as_raw_fd(), 0) == 0 {
                let envp = [std::ptr::null()];
                libc::execve(PROGRAM.as_ptr(), argv.as_ptr(), envp.as_ptr());
            }
            libc::_exit(127)
        }
        helper as libc::pid_t
    };
    if helper < 0 {
        return Err(Failure(
            io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EIO),
        ));
    }
    drop(other);
    let answer = receive(own.as_raw_fd(), report);
    // SAFETY: null asks for no status; there is no other child of this process.
    unsafe { libc::waitpid(helper, std::ptr::null_mut(), 0) };
    answer
}

/// Waits for the answer; its end without one is that of a process that was killed or could not run.
fn receive(socket: RawFd, report: RawFd) -> Result<RawFd, Failure> {
    let mut packet = [0u8; TOLD_BYTES];
    let mut part = libc::iovec {
        iov_base: packet.as_mut_ptr().cast(),
        iov_len: packet.len(),
    };
    let mut control = [0u64; 4];
    // SAFETY: msghdr is plain data for which zero is valid. Buffer and control outlive the calls and are as long as
    // said; the macros stay within what the kernel filled. The report is as long as said.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        let length = libc::recvmsg(socket, &raw mut header, libc::MSG_CMSG_CLOEXEC);
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        match (length, packet.first()) {
            (1, Some(&DONE))
                if !message.is_null()
                    && (*message).cmsg_level == libc::SOL_SOCKET
                    && (*message).cmsg_type == libc::SCM_RIGHTS =>
            {
                Ok(libc::CMSG_DATA(message).cast::<RawFd>().read_unaligned())
            }
            (2.., Some(&FAILED)) => {
                libc::send(
                    report,
                    packet.as_ptr().cast(),
                    packet.len(),
                    libc::MSG_NOSIGNAL,
                );
                Err(Failure(libc::EINVAL))
            }
            _ => Err(Failure(libc::ECHILD)),
        }
    }
}
