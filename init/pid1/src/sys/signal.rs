//! Signal sets beyond what nix names.

use nix::sys::signal::SigSet;

/// First real-time signal as systemd counts them: the kernel's 32 and 33 belong to the C library.
pub(crate) const SIGRTMIN: i32 = 34;

/// Adds SIGRTMIN+3 (halt), +4 (power off), +5 (reboot).
pub(crate) fn add_real_time(set: &mut SigSet) {
    // SAFETY: sigset_t is plain data; the copy outlives the calls, the numbers are signals, and every set that
    // sigaddset(3) makes is a valid one.
    *set = unsafe {
        let mut raw = *set.as_ref();
        for signal in SIGRTMIN + 3..=SIGRTMIN + 5 {
            libc::sigaddset(&raw mut raw, signal);
        }
        SigSet::from_sigset_t_unchecked(raw)
    };
}

/// kill(2); whether the process was there. Only ever for one process: 0 and negative numbers mean many.
pub(crate) fn send(pid: i32, signal: i32) -> bool {
    // SAFETY: takes no pointer.
    pid > 1 && unsafe { libc::kill(pid, signal) } == 0
}
