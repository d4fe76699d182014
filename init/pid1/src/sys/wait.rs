//! waitid(2) over all children. rustix does not tell which child it was, and nix knows no real-time signals.

/// A child that has ended, left to be collected: until then its number is nobody else's.
pub(crate) fn ended() -> Option<i32> {
    // SAFETY: siginfo_t is plain data for which zero is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the pointer is to a siginfo_t that outlives the call. Where the call finds a child it fills in the
    // number, and where it finds none the number stays zero.
    let pid = unsafe {
        if libc::waitid(libc::P_ALL, 0, &raw mut info, flags) < 0 {
            return None;
        }
        info.si_pid()
    };
    (pid > 0).then_some(pid)
}
