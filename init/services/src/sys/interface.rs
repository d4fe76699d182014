//! Network interface requests that netdevice(7) answers by ioctl.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Renames an interface (`SIOCSIFNAME`); `socket` is any datagram socket.
pub(crate) fn rename(socket: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
    // SAFETY: an all-zero ifreq is a valid value of that plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    copy_name(&mut request.ifr_name, from)?;
    let mut name = [0; libc::IFNAMSIZ];
    copy_name(&mut name, to)?;
    request.ifr_ifru.ifru_newname = name;
    // SAFETY: the descriptor is open for the call and SIOCSIFNAME reads one ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFNAME as _, &request) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn copy_name(to: &mut [libc::c_char; libc::IFNAMSIZ], name: &str) -> io::Result<()> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is no interface name"),
        ));
    }
    for (slot, byte) in to.iter_mut().zip(name.bytes()) {
        *slot = byte as libc::c_char;
    }
    Ok(())
}
