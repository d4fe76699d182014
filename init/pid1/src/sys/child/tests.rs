//! Steps on real children whose effect no ordinary program shows.

use nix::sys::wait::{WaitStatus, waitpid};
use spec_unit::seccomp::{Machine, write_execute};

use super::*;
use crate::unit::spawn::step::TerminalSetup;

/// Carries a step out in a child, after no_new_privs; its exit code is that of `then`.
fn in_child(mut step: Step, then: fn() -> i32) -> WaitStatus {
    let mut kernel = Kernel::new(mount::NONE, 0, 0);
    let child = crate::sys::clone::child(Default::default(), || {
        let done = kernel
            .call(&mut Step::NoNewPrivileges)
            .and_then(|()| kernel.call(&mut step));
        let code = if done.is_ok() { then() } else { 99 };
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(code) }
    });
    let pid = nix::unistd::Pid::from_raw(child.unwrap().pid);
    waitpid(pid, None).unwrap()
}

/// Maps a page; the error number where it fails.
fn map(protection: c_int) -> std::result::Result<*mut libc::c_void, i32> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, of which nothing is used.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        Err(errno().0)
    } else {
        Ok(page)
    }
}

/// 0 if memory is never both written and executed; else which way it was.
fn maps_no_writable_code() -> i32 {
    let refused = |failure: i32| [libc::EPERM, libc::EACCES].contains(&failure);
    if !map(libc::PROT_WRITE | libc::PROT_EXEC).is_err_and(refused) {
        return 1;
    }
    let Ok(page) = map(libc::PROT_READ | libc::PROT_WRITE) else {
        return 2;
    };
    // SAFETY: the page was mapped here and is not used.
    let executable = unsafe { libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC) };
    if executable == 0 || !refused(errno().0) {
        return 3;
    }
    0
}

#[test]
fn memory_is_written_or_executed_by_the_switch_and_by_the_filter() {
    let program = write_execute(Machine::NATIVE).unwrap();
    for step in [
        Step::DenyWriteExecute(program.clone()),
        Step::Filter(program),
    ] {
        let status = in_child(step, maps_no_writable_code);
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    }
    let unconfined = in_child(Step::Umask(0o22), maps_no_writable_code);
    assert!(matches!(unconfined, WaitStatus::Exited(_, 1)));
}

#[test]
fn a_program_that_the_kernel_refuses_is_an_error() {
    let status = in_child(Step::Filter(vec![]), || 0);
    assert!(matches!(status, WaitStatus::Exited(_, 99)));
}

#[test]
fn a_terminal_keeps_the_size_that_it_was_given_until_the_program_runs() {
    use std::os::fd::AsRawFd as _;
    let mut options = std::fs::OpenOptions::new();
    let master = options.read(true).write(true).open("/dev/ptmx").unwrap();
    let mut name = [0; 64];
    // SAFETY: the descriptor is open, and the buffer is as long as said.
    let told = unsafe {
        libc::unlockpt(master.as_raw_fd());
        libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), name.len())
    };
    assert_eq!(told, 0);
    // SAFETY: what the call above has written ends in NUL.
    let path = unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) }.to_owned();
    let text = path.to_str().unwrap().to_owned();
    let opened = || {
        let folder = std::fs::read_dir("/proc/self/fd").unwrap();
        let links = folder.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.to_str() == Some(&text)).count()
    };
    let mut setup = TerminalSetup {
        path,
        number: None,
        reset: false,
        hang_up: false,
        disallocate: true,
        rows: 0,
        columns: 0,
    };
    super::stream::set_up(&setup).unwrap();
    assert_eq!(opened(), 0, "nothing to keep");
    (setup.rows, setup.columns) = (31, 97);
    super::stream::set_up(&setup).unwrap();
    assert_eq!(opened(), 1, "with the last close its size would be gone");
}
