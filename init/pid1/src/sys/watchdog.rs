//! ioctls of linux/watchdog.h.

use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::path::Path;

/// Environment variable by which the initramfs hands the armed device to the root.
pub(crate) const INHERITED: &str = "BEDPLATE_WATCHDOG_FD";

/// The last boot was made by the card resetting the machine (WDIOF_CARDRESET).
pub(crate) const CARD_RESET: i32 = 0x0020;

mod ioctl {
    nix::ioctl_read!(get_boot_status, b'W', 2, libc::c_int);
    nix::ioctl_read!(keep_alive, b'W', 5, libc::c_int);
    nix::ioctl_readwrite!(set_timeout, b'W', 6, libc::c_int);
    nix::ioctl_read!(get_timeout, b'W', 7, libc::c_int);
}

/// The device that [`INHERITED`] names, if it is one. Called once, before anything else has opened a file.
pub(crate) fn inherited() -> Option<File> {
    let number: i32 = std::env::var(INHERITED)
        .ok()?
        .parse()
        .ok()
        .filter(|&number| number > 2)?;
    let target = std::fs::read_link(Path::new("/proc/self/fd").join(number.to_string())).ok()?;
    if !target.to_str()?.starts_with("/dev/watchdog") {
        return None;
    }
    // SAFETY: the descriptor is open on a watchdog, came across exec, and nothing in this process owns it yet.
    let device = unsafe { File::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(device)
}

/// WDIOC_KEEPALIVE.
pub(crate) fn keep_alive(device: &File) -> std::io::Result<()> {
    let mut ignored = 0;
    // SAFETY: the descriptor is open and the pointer is to an int that outlives the call.
    unsafe { ioctl::keep_alive(device.as_raw_fd(), &mut ignored) }?;
    Ok(())
}

/// WDIOC_SETTIMEOUT; gives the seconds that the driver took.
pub(crate) fn set_timeout(device: &File, seconds: i32) -> std::io::Result<i32> {
    let mut taken = seconds;
    // SAFETY: the descriptor is open and the pointer is to an int that outlives the call.
    unsafe { ioctl::set_timeout(device.as_raw_fd(), &mut taken) }?;
    Ok(taken)
}

/// WDIOC_GETTIMEOUT.
pub(crate) fn timeout(device: &File) -> std::io::Result<i32> {
    let mut seconds = 0;
    // SAFETY: the descriptor is open and the pointer is to an int that outlives the call.
    unsafe { ioctl::get_timeout(device.as_raw_fd(), &mut seconds) }?;
    Ok(seconds)
}

/// WDIOC_GETBOOTSTATUS.
pub(crate) fn boot_status(device: &File) -> std::io::Result<i32> {
    let mut status = 0;
    // SAFETY: the descriptor is open and the pointer is to an int that outlives the call.
    unsafe { ioctl::get_boot_status(device.as_raw_fd(), &mut status) }?;
    Ok(status)
}
