//! Descriptors beyond what rustix offers.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// KCMP_FILE of linux/kcmp.h.
const KCMP_FILE: libc::c_int = 0;

/// Whether two descriptors of this process are of one open file; the error where the kernel has no kcmp(2).
pub(crate) fn is_same(left: BorrowedFd<'_>, right: BorrowedFd<'_>) -> io::Result<bool> {
    let pid = std::process::id();
    // SAFETY: takes no pointer.
    let order = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            pid,
            pid,
            KCMP_FILE,
            left.as_raw_fd(),
            right.as_raw_fd(),
        )
    };
    match order {
        0.. => Ok(order == 0),
        _ => Err(io::Error::last_os_error()),
    }
}
