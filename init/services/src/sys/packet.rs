//! packet(7) sockets: IPv4 datagrams on one link before that link has an address.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tokio::io::unix::AsyncFd;

/// Opens a non-blocking datagram packet socket for IPv4 on the link with this index.
pub(crate) fn open_ipv4(index: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes no pointers. Protocol 0 receives nothing until bind names one.
    let number = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number was just returned by socket(2) and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let address = link_address(index, None);
    // SAFETY: the pointer and length describe one initialised sockaddr_ll that outlives the call.
    let result = unsafe {
        libc::bind(
            number,
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: an OwnedFd always gives the one descriptor it owns, open until it is dropped.
    let socket = unsafe { AsyncFd::register(socket) }?;
    Ok(socket)
}

/// Sends one IPv4 datagram on the link; `destination` is a hardware address of six bytes.
pub(crate) fn send_ipv4(
    socket: &OwnedFd,
    index: u32,
    destination: [u8; 6],
    datagram: &[u8],
) -> io::Result<()> {
    let address = link_address(index, Some(destination));
    // SAFETY: buffer and address are valid for the lengths given and outlive the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            datagram.as_ptr().cast(),
            datagram.len(),
            libc::MSG_NOSIGNAL,
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn link_address(index: u32, hardware: Option<[u8; 6]>) -> libc::sockaddr_ll {
    // SAFETY: an all-zero sockaddr_ll is a valid value of that plain C struct.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_IP as u16).to_be();
    address.sll_ifindex = index as i32;
    if let Some(hardware) = hardware {
        address.sll_halen = 6;
        for (slot, byte) in address.sll_addr.iter_mut().zip(hardware) {
            *slot = byte;
        }
    }
    address
}
