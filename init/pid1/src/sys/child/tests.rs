//! Steps on real children whose effect no ordinary program shows.

use nix::sys::wait::{WaitStatus, waitpid};
use spec_unit::seccomp::{Machine, write_execute};

use super::*;

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
