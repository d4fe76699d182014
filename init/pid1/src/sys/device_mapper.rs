//! The ioctls of /dev/mapper/control: one message in, the same buffer out.

use std::fs::File;
use std::os::fd::AsRawFd as _;

/// Bytes of `struct dm_ioctl`.
pub(crate) const HEADER: usize = 312;

/// Sends the message of `command`. The kernel reads and writes at most the `data_size` that the message states.
pub(crate) fn send(control: &File, command: u8, message: &mut [u8]) -> std::io::Result<()> {
    let stated = message
        .get(12..16)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_ne_bytes);
    if message.len() < HEADER
        || stated.and_then(|size| usize::try_from(size).ok()) != Some(message.len())
    {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let request = nix::request_code_readwrite!(0xfd, command, HEADER);
    // SAFETY: the descriptor is open; the buffer is at least a header long, its data_size field is its length
    // (checked above), the kernel stays within that, and nobody else uses the buffer during the call.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), request as _, message.as_mut_ptr()) };
    if result < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(())
    }
}
