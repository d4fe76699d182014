//! Where clients ask.

pub(crate) mod tcp;
pub(crate) mod udp;

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

/// A socket at an address that need not be there yet: the loopback may come up later than this.
fn open(at: SocketAddrV4, kind: SockType, protocol: SockProtocol) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, kind, flags, protocol)?;
    setsockopt(&fd, sockopt::IpFreebind, &true)?;
    if kind == SockType::Stream {
        // Connections of the run before may still be ending.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrIn::from(at)).map_err(|error| {
        io::Error::other(format!(
            "cannot listen at {at}: {error}; is another resolver there?"
        ))
    })?;
    Ok(fd)
}
