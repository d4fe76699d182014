//! sd_notify(3): what services say about themselves.
//!
//! Datagrams of `NAME=value` lines, with the sender's process as the kernel vouches for it. Which unit a process
//! belongs to is told by its registration or its control group, never by what it says. Descriptors that come along
//! are stored for the service if it says FDSTORE=1 and may, and are closed else: closing them is what BARRIER=1 waits
//! for.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use spec_unit::notify::MAX_MESSAGE;
pub(crate) use spec_unit::notify::Message;

use crate::sys;

/// A message, who sent it and what came with it.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The sender.
    pub(crate) pid: i32,
    /// What it said.
    pub(crate) message: Message,
    /// Descriptors, closed unless taken.
    pub(crate) fds: Vec<OwnedFd>,
}

/// How many messages may wait in a socket, unless the kernel says otherwise.
const QUEUE: usize = 512;

/// The socket that services write to.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: OwnedFd,
    most_waiting: usize,
}

impl NotifySocket {
    /// Makes the socket at a path; everybody may write to it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let socket = bind(path, SocketType::DGRAM, 0o777)?;
        sockopt::set_socket_passcred(&socket, true)?;
        Ok(Self::of(socket))
    }

    /// The same, of a socket that was made so.
    pub(crate) fn of(socket: OwnedFd) -> Self {
        // A socket takes one message more than its limit, and keeps the limit it was made with.
        let limit = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen");
        let limit = limit.ok().and_then(|text| text.trim().parse().ok());
        Self {
            socket,
            most_waiting: limit.unwrap_or(QUEUE).saturating_add(1),
        }
    }

    /// After so many messages everything has been received that was there before the first.
    pub(crate) fn most_waiting(&self) -> usize {
        self.most_waiting
    }

    /// The descriptor to wait on.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// One message and the process that sent it; none if there is none now.
    pub(crate) fn receive(&self) -> io::Result<Option<Heard>> {
        let mut buffer = [0; MAX_MESSAGE];
        let received = match sys::message::receive(self.fd(), &mut buffer) {
            Ok(received) => received,
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let pid = received.sender.map_or(0, |(pid, _)| pid);
        if received.truncated && received.length == MAX_MESSAGE {
            let heard = Heard::default();
            return Ok(Some(Heard { pid, ..heard }));
        }
        Ok(Some(Heard {
            pid,
            message: Message::parse(buffer.get(..received.length).unwrap_or_default()),
            fds: received.fds,
        }))
    }
}

/// Makes a socket at a path, in place of what was there.
pub(crate) fn bind(path: &Path, kind: SocketType, mode: u32) -> io::Result<OwnedFd> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_tells_who_spoke() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = NotifySocket::open(&path).unwrap();
        let client = std::os::unix::net::UnixDatagram::unbound().unwrap();
        client.send_to(b"READY=1", &path).unwrap();
        client.send_to(&[b'x'; 9000], &path).unwrap();
        let heard = socket.receive().unwrap().unwrap();
        let ready = heard.message.ready;
        assert_eq!((heard.pid, ready), (std::process::id() as i32, true));
        assert_eq!(
            socket.receive().unwrap().unwrap().message,
            Message::default(),
            "too long to be heard"
        );
        assert!(socket.receive().unwrap().is_none());
    }
}
