//! mlockall(2).

use std::io;

/// Of linux/mman.h: a page is kept once it is touched.
const MCL_ONFAULT: libc::c_int = 4;

/// Keeps what this process is made of in memory: its program and data now, and what comes to be later once it is touched.
/// A child made by fork(2) and a program that is executed begin without.
pub(crate) fn lock() -> io::Result<()> {
    let lock = |flags| {
        // SAFETY: takes no pointer, and changes nothing that a program can read.
        let done = unsafe { libc::mlockall(flags) };
        (done == 0)
            .then_some(())
            .ok_or_else(io::Error::last_os_error)
    };
    lock(libc::MCL_CURRENT)?;
    lock(libc::MCL_FUTURE | MCL_ONFAULT)
}
