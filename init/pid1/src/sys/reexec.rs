//! execve(2) of PID 1 by itself: the same process goes on as a new image, with every descriptor and child that it had.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::ptr::null;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// No descriptor of PID 1 has a number as high: the kernel gives the lowest that is free.
const HIGHEST: RawFd = 1 << 16;
/// Room for the handler of a fault, which may be that of an overrun stack.
const STACK: usize = 64 * 1024;
/// Signals by which the kernel tells a program of its own fault.
const FAULTS: [c_int; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
];
/// CLOSE_RANGE_CLOEXEC of linux/close_range.h.
const CLOSE_ON_EXEC: c_int = 4;
/// The last word of an image.
const WORD: &[u8] = b"<0>bedplate-init: a fault in PID 1; it executes itself anew\n";

/// What is executed, ready for the kernel.
struct Image {
    program: CString,
    planned: CString,
    crashed: CString,
    stack: *mut u8,
}

static FAULTS_ALLOWED: AtomicBool = AtomicBool::new(false);
static IMAGE: AtomicPtr<Image> = AtomicPtr::new(std::ptr::null_mut());

/// From now on [`execute`] executes this program with one of two variables, and so does a fault.
pub(crate) fn arm(program: CString, planned: CString, crashed: CString) {
    let image = Image {
        program,
        planned,
        crashed,
        stack: Box::leak(vec![0_u8; STACK].into_boxed_slice()).as_mut_ptr(),
    };
    // Never freed: a fault may come at any time.
    IMAGE.store(Box::into_raw(Box::new(image)), Ordering::SeqCst);
    hear_faults();
}

/// From now on a fault is the end.
pub(crate) fn disarm() {
    IMAGE.store(std::ptr::null_mut(), Ordering::SeqCst);
}

/// Executes the program; returns why that failed. Makes system calls only.
pub(crate) fn execute(crashed: bool) -> io::Error {
    let image = IMAGE.load(Ordering::SeqCst);
    if image.is_null() {
        return io::ErrorKind::NotFound.into();
    }
    // SAFETY: what was stored is never freed nor changed. The strings and both lists end in NUL and outlive the call.
    // Descriptors are only marked: which of them the new image wants its state says, and it closes the others.
    unsafe {
        let image = &*image;
        let variable = if crashed {
            &image.crashed
        } else {
            &image.planned
        };
        for fd in 3..table_size() {
            libc::fcntl(fd, libc::F_SETFD, 0);
        }
        let arguments: [*const c_char; 2] = [image.program.as_ptr(), null()];
        let variables: [*const c_char; 2] = [variable.as_ptr(), null()];
        libc::execve(
            image.program.as_ptr(),
            arguments.as_ptr(),
            variables.as_ptr(),
        );
        let cause = io::Error::last_os_error();
        libc::syscall(libc::SYS_close_range, 3, RawFd::MAX, CLOSE_ON_EXEC);
        cause
    }
}

/// No descriptor has this number or a higher one: the size of the kernel's table for this process, as
/// proc_pid_status(5) tells it, else [`HIGHEST`]. Makes system calls only.
fn table_size() -> RawFd {
    let mut text = [0_u8; 4096];
    // SAFETY: the path ends in NUL, and the buffer is as long as said.
    let length = unsafe {
        let fd = libc::open(
            c"/proc/self/status".as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        );
        if fd < 0 {
            return HIGHEST;
        }
        let length = libc::read(fd, text.as_mut_ptr().cast(), text.len());
        libc::close(fd);
        usize::try_from(length).unwrap_or(0)
    };
    let size = fd_size(text.get(..length).unwrap_or_default());
    size.map_or(HIGHEST, |size| size.min(HIGHEST))
}

/// The number behind `FDSize:`.
fn fd_size(text: &[u8]) -> Option<RawFd> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let size = lines.find_map(|line| line.strip_prefix(b"FDSize:"))?;
    std::str::from_utf8(size.trim_ascii()).ok()?.parse().ok()
}

/// Hears of faults on a stack of its own. Makes system calls only.
fn hear_faults() {
    let image = IMAGE.load(Ordering::SeqCst);
    if image.is_null() {
        return;
    }
    // SAFETY: image and stack are never freed. The handler makes system calls only. sigaction is plain data for which
    // zero is valid, and outlives the calls.
    unsafe {
        let stack = libc::stack_t {
            ss_sp: (*image).stack.cast(),
            ss_flags: 0,
            ss_size: STACK,
        };
        libc::sigaltstack(&raw const stack, std::ptr::null_mut());
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_fault as *const () as libc::sighandler_t;
        // Not blocked in the handler: the new image would begin with it blocked.
        action.sa_flags = libc::SA_ONSTACK | libc::SA_NODEFER | libc::SA_SIGINFO;
        libc::sigemptyset(&raw mut action.sa_mask);
        for signal in FAULTS {
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// Takes the faults that other processes send for real ones. For tests.
pub(crate) fn allow_faults() {
    FAULTS_ALLOWED.store(true, Ordering::SeqCst);
}

/// A fault of this program. What is left to do needs nothing that may be broken.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO what it knows of the signal. System calls on plain data that
    // outlives them; all are safe in a handler of a signal (signal-safety(7)).
    unsafe {
        // A signal that another process has sent is no fault of this one, which the kernel would not end by it either.
        let own = (*info).si_code > 0 || (*info).si_pid() == libc::getpid();
        if !own && !FAULTS_ALLOWED.load(Ordering::SeqCst) {
            return;
        }
        if libc::getpid() == 1 {
            if let Some(log) = crate::log::descriptor() {
                libc::write(log, WORD.as_ptr().cast(), WORD.len());
            }
            execute(true);
        }
        // What is left is the end, as without this handler.
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Every descriptor from 3 up, each closed unless taken. Only for the first moments of a program, before anything that
/// it opens itself.
pub(crate) fn descriptors() -> BTreeMap<RawFd, OwnedFd> {
    let folder = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let numbers = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<RawFd> = numbers.filter(|number: &RawFd| *number > 2).collect();
    let mut found = BTreeMap::new();
    for number in numbers {
        // SAFETY: takes no pointer. That of the folder itself is closed by now.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == 0 {
            // SAFETY: it is open, came over exec, and nothing in this program owns it yet.
            found.insert(number, unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    use rustix::process::{Pid, WaitOptions, waitpid};

    use super::*;
    use crate::sys::clone::{Birth, child, pipe};

    /// What env(1) says, executed by the body of a child that is PID 1 of its own.
    fn said(body: impl FnOnce()) -> Option<String> {
        let (read, write) = pipe().unwrap();
        let birth = Birth {
            own_processes: true,
            ..Birth::default()
        };
        let born = child(birth, || {
            // SAFETY: takes no pointer.
            unsafe { libc::dup2(write.as_raw_fd(), 1) };
            hear_faults();
            body();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(7) }
        });
        let born = match born {
            Ok(born) => born,
            Err(cause) => {
                println!("skipped: no PID namespace: {cause}");
                return None;
            }
        };
        drop(write);
        let (_, status) = waitpid(Pid::from_raw(born.pid), WaitOptions::empty())
            .unwrap()
            .unwrap();
        assert_eq!(status.exit_status(), Some(0));
        let mut text = [0; 64];
        let length = (&read).read(&mut text).unwrap();
        Some(String::from_utf8_lossy(&text[..length]).into_owned())
    }

    #[test]
    fn every_descriptor_has_a_number_below_the_size_of_the_table() {
        assert_eq!(fd_size(b"Name:\ta\nFDSize:\t1024\nGroups:\n"), Some(1024));
        assert_eq!((fd_size(b""), fd_size(b"FDSize:\tmany\n")), (None, None));
        let (read, _write) = pipe().unwrap();
        let high = crate::sys::clone::lift(read.into()).unwrap();
        let size = table_size();
        assert!((high.as_raw_fd() + 1..=HIGHEST).contains(&size), "{size}");
    }

    #[test]
    fn a_pid_1_that_crashes_executes_itself_anew() {
        let text = |text: &str| CString::new(text).unwrap();
        arm(text("/usr/bin/env"), text("WHY=planned"), text("WHY=crash"));
        let planned = said(|| drop(execute(false)));
        assert!(planned.is_none_or(|said| said == "WHY=planned\n"));
        for fault in [
            // SAFETY: signals the child itself, which has a handler for it.
            || unsafe { _ = libc::raise(libc::SIGABRT) },
            // SAFETY: no memory of the child is written, and its handler does not return.
            || unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) },
        ] {
            let crashed = said(fault);
            assert!(crashed.is_none_or(|said| said == "WHY=crash\n"));
        }
        disarm();
        assert_eq!(execute(false).kind(), io::ErrorKind::NotFound);
    }
}
