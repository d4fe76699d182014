//! Receiving with credentials and file descriptors, unix(7).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// A received packet.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Bytes of the buffer that are filled.
    pub(crate) length: usize,
    /// The kernel cut the packet or its descriptors off.
    pub(crate) truncated: bool,
    /// Process and user of the sender, as the kernel vouches for.
    pub(crate) sender: Option<(i32, u32)>,
    /// Descriptors that came with it, closed unless taken.
    pub(crate) fds: Vec<OwnedFd>,
}

/// Room for SCM_RIGHTS of 253 descriptors (the kernel's most) and SCM_CREDENTIALS.
const CONTROL: usize = 1200;

/// The process that has made a connection, as itself.
pub(crate) fn peer(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut pidfd: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers outlive the call, and the length is that of the number.
    let told = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut pidfd).cast(),
            &raw mut length,
        )
    };
    if told < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// SO_PEERPIDFD of asm-generic/socket.h.
const SO_PEERPIDFD: libc::c_int = 77;

/// Receives one packet without waiting.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = MaybeUninit::<[u64; CONTROL / 8]>::zeroed();
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: msghdr is plain data for which zero is valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: header, buffer and control outlive the call and are as long as said.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    let truncated = header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    let mut received = Received {
        length: length as usize,
        truncated,
        ..Received::default()
    };
    // SAFETY: the kernel filled the control buffer; the macros stay within msg_controllen. Data may be unaligned.
    // Each descriptor is new and owned by nobody else.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while !message.is_null() {
            let data = libc::CMSG_DATA(message);
            let size = ((*message).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for number in 0..size / size_of::<i32>() {
                        let fd = data.cast::<i32>().add(number).read_unaligned();
                        received.fds.push(OwnedFd::from_raw_fd(fd));
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if size >= size_of::<libc::ucred>() => {
                    let sender = data.cast::<libc::ucred>().read_unaligned();
                    received.sender = Some((sender.pid, sender.uid));
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    Ok(received)
}

/// Sends one byte and a descriptor. Allocates nothing.
pub(crate) fn send(socket: RawFd, letter: u8, fd: RawFd) -> io::Result<()> {
    let mut byte = letter;
    let mut part = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    // Room for one descriptor, aligned as the kernel wants it.
    let mut control = [0u64; 4];
    // SAFETY: msghdr is plain data for which zero is valid. The control buffer holds a header and one number, which
    // the macros stay within; all outlives the call.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        if message.is_null() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        (*message).cmsg_level = libc::SOL_SOCKET;
        (*message).cmsg_type = libc::SCM_RIGHTS;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
        libc::CMSG_DATA(message).cast::<RawFd>().write_unaligned(fd);
        let sent = libc::sendmsg(socket, &raw const header, libc::MSG_NOSIGNAL);
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
