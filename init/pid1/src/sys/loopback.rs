//! The loopback link.

use super::child::check;
use crate::unit::spawn::step::Failure;

/// Brings the loopback link of this process's network up; netdevice(7). System calls only: for a child between clone and
/// exec too.
pub(crate) fn up() -> Result<(), Failure> {
    // SAFETY: ifreq is plain data for which zero is valid; it outlives the calls; the descriptor is our own.
    unsafe {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        let socket = check(libc::socket(libc::AF_INET, kind, 0))?;
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let done = check(libc::ioctl(
            socket,
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        ));
        libc::close(socket);
        done.map(drop)
    }
}
