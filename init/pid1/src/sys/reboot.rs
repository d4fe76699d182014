//! reboot(2) with an argument, which the C library has no function for.

use std::ffi::CStr;
use std::io;

/// Restarts the machine and hands the firmware an argument. Returns why it failed.
pub(crate) fn with_argument(argument: &CStr) -> io::Error {
    // SAFETY: the argument is a string with its NUL that outlives the call; the other arguments are the numbers of
    // reboot(2).
    unsafe {
        libc::syscall(
            libc::SYS_reboot,
            libc::LINUX_REBOOT_MAGIC1,
            libc::LINUX_REBOOT_MAGIC2,
            libc::LINUX_REBOOT_CMD_RESTART2,
            argument.as_ptr(),
        );
    }
    io::Error::last_os_error()
}
