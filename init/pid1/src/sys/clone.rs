//! clone3(2): a child born in its cgroup, with a pidfd.

#[cfg(test)]
use std::fs::File;
use std::io;
use std::os::fd::{
    AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd,
};

use nix::sys::signal::SigSet;

use super::heap;

/// `struct clone_args` of linux/sched.h, version 2.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A child process.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its number.
    pub(crate) pid: i32,
    /// Refers to this very process, also after its number is used anew.
    pub(crate) pidfd: OwnedFd,
}

/// What a child is born into.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Birth<'a> {
    /// Its control group; PID 1's otherwise.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// A PID namespace, in which it is number 1.
    pub(crate) own_processes: bool,
    /// PID 1's own table of descriptors, not a copy.
    pub(crate) same_descriptors: bool,
}

/// Makes a child that runs `body` and nothing else. Signal handlers are reset in it.
///
/// `body` runs between clone and exec: it must not allocate or lock, and ends in exec or exit.
pub(crate) fn child(birth: Birth<'_>, body: impl FnOnce()) -> io::Result<Child> {
    let mut pidfd: libc::c_int = -1;
    let pid = heap::whole(|| clone3(birth, Some(&mut pidfd), body))?;
    // SAFETY: CLONE_PIDFD wrote a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// The same for a child that needs nothing of PID 1's memory but what was allocated for it ([`heap::handed`]), and without
/// a descriptor of it, which every child born later would have to close: its number is its own until its parent
/// collects it.
pub(crate) fn lean(birth: Birth<'_>, body: impl FnOnce()) -> io::Result<i32> {
    heap::kept(|| clone3(birth, None, body))
}

fn clone3(
    birth: Birth<'_>,
    pidfd: Option<&mut libc::c_int>,
    body: impl FnOnce(),
) -> io::Result<i32> {
    let mut args = CloneArgs {
        flags: CLONE_CLEAR_SIGHAND,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(pidfd) = pidfd {
        args.flags |= libc::CLONE_PIDFD as u64;
        args.pidfd = (&raw mut *pidfd) as u64;
    }
    if birth.own_processes {
        args.flags |= libc::CLONE_NEWPID as u64;
    }
    if birth.same_descriptors {
        args.flags |= libc::CLONE_FILES as u64;
    }
    if let Some(cgroup) = birth.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    }
    // SAFETY: the arguments have the layout of linux/sched.h and outlive the call. Without CLONE_VM the child has its
    // own copy of memory, as after fork(2); it runs `body` only, which never returns into this frame.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        0 => {
            body();
            // SAFETY: ends the child at once, should `body` have returned.
            unsafe { libc::_exit(255) }
        }
        1.. => Ok(pid as i32),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes a child that does for PID 1 what may take long, with its memory, the kernel log and no other descriptor of
/// PID 1. What `body` returns is its exit code.
///
/// PID 1 has one thread, so no lock is held over clone(2), and `body` may do what PID 1 may. A test with more threads
/// must keep to system calls.
pub(crate) fn worker(body: impl FnOnce() -> i32) -> io::Result<Child> {
    child(Birth::default(), || {
        // It ends when it is told to, not as PID 1, which listens to its signals by a descriptor.
        let _ = SigSet::empty().thread_set_mask();
        close_but(crate::log::descriptor());
        let code = body();
        // SAFETY: ends the child at once, without what PID 1 would do at its own exit.
        unsafe { libc::_exit(code) }
    })
}

/// Makes a child that closes descriptors of PID 1's own table, so that whatever a close waits for, PID 1 does not. They
/// are given back if there is no child.
pub(crate) fn closer(fds: Vec<OwnedFd>) -> Result<Child, (io::Error, Vec<OwnedFd>)> {
    let birth = Birth {
        same_descriptors: true,
        ..Birth::default()
    };
    let born = child(birth, || {
        for fd in &fds {
            // SAFETY: takes no pointer. Its owner gives it up below and never uses it again.
            unsafe { libc::close(fd.as_raw_fd()) };
        }
        // SAFETY: ends the child at once; nothing is dropped in it.
        unsafe { libc::_exit(0) }
    });
    match born {
        Ok(child) => {
            // The child's from now on.
            fds.into_iter().for_each(|fd| _ = fd.into_raw_fd());
            Ok(child)
        }
        Err(cause) => Err((cause, fds)),
    }
}

/// Closes every descriptor but the standard streams and the one to keep.
fn close_but(kept: Option<RawFd>) {
    let close = |first: RawFd, last: RawFd| {
        // SAFETY: takes no pointer. The owners of these descriptors are PID 1's: in a worker nothing uses them but the
        // log, whose own is kept, and none is dropped, as it ends in _exit. What `body` opens it owns itself.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    };
    match kept.filter(|kept| *kept > 2) {
        Some(kept) => {
            // Nothing lies between where the kernel refuses it.
            close(3, kept - 1);
            close(kept.saturating_add(1), RawFd::MAX);
        }
        None => close(3, RawFd::MAX),
    }
}

/// A pipe whose ends close on exec, the second above the numbers a child may be handed.
#[cfg(test)]
pub(crate) fn pipe() -> io::Result<(File, File)> {
    let (read, write) = rustix::pipe::pipe_with(
        rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK,
    )?;
    Ok((File::from(read), File::from(lift(write)?)))
}

/// A pair of SOCK_SEQPACKET sockets that close on exec, the second one with a number no lower than `lowest`. Not one
/// that is higher for no reason: every child is born with a table of descriptors as long as PID 1's.
pub(crate) fn pair(lowest: RawFd) -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (read, write) = socketpair(family, kind, SocketFlags::CLOEXEC, None)?;
    if write.as_raw_fd() >= lowest {
        return Ok((read, write));
    }
    Ok((read, rustix::io::fcntl_dupfd_cloexec(write, lowest)?))
}

/// Lowest number of a descriptor that a child's own cannot overwrite.
pub(crate) const LIFTED: i32 = 768;

/// Moves a descriptor above the numbers a child may be handed.
pub(crate) fn lift(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= LIFTED {
        return Ok(fd);
    }
    lifted(fd.as_fd())
}

/// A second descriptor of the same, above the numbers a child may be handed.
pub(crate) fn lifted(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, LIFTED)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_number_that_no_descriptor_of_the_child_overwrites() {
        let (_read, write) = pair(3).unwrap();
        assert!(
            write.as_raw_fd() < LIFTED,
            "and none that is high for nothing"
        );
        for lowest in [write.as_raw_fd() + 100, LIFTED] {
            let (read, write) = pair(lowest).unwrap();
            assert!(write.as_raw_fd() >= lowest && read.as_raw_fd() < lowest);
        }
    }

    #[test]
    fn of_all_descriptors_one_is_kept() {
        use rustix::process::{Pid, WaitOptions, waitpid};
        let (read, write) = pipe().unwrap();
        let ends = [read.as_raw_fd(), write.as_raw_fd()];
        // SAFETY: takes no pointer.
        let is_open = |fd: RawFd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
        for kept in ends {
            let child = child(Birth::default(), || {
                close_but(Some(kept));
                let wrong = ends.iter().any(|end| is_open(*end) != (*end == kept));
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(i32::from(wrong)) }
            });
            let pid = Pid::from_raw(child.unwrap().pid);
            let (_, status) = waitpid(pid, WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0));
        }
    }
}
