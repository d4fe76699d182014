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
use spec_unit::directive::notify::is_fd_name;

use crate::sys;

/// Most bytes of a message, as systemd takes.
const MAX_MESSAGE: usize = 4096;
/// Most bytes of STATUS= kept.
const MAX_STATUS: usize = 512;

/// What a service said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// READY=1.
    pub(crate) ready: bool,
    /// RELOADING=1.
    pub(crate) reloading: bool,
    /// MONOTONIC_USEC=: when it began to reload.
    pub(crate) monotonic_us: Option<u64>,
    /// STOPPING=1.
    pub(crate) stopping: bool,
    /// WATCHDOG=1.
    pub(crate) watchdog: bool,
    /// WATCHDOG=trigger.
    pub(crate) watchdog_trigger: bool,
    /// WATCHDOG_USEC=.
    pub(crate) watchdog_us: Option<u64>,
    /// STATUS=.
    pub(crate) status: Option<String>,
    /// MAINPID=.
    pub(crate) main_pid: Option<i32>,
    /// ERRNO=.
    pub(crate) errno: Option<i32>,
    /// EXTEND_TIMEOUT_USEC=.
    pub(crate) extend_timeout_us: Option<u64>,
    /// FDSTORE=1.
    pub(crate) store: bool,
    /// FDSTOREREMOVE=1.
    pub(crate) remove_stored: bool,
    /// FDNAME=, if it is one that can be handed on.
    pub(crate) fd_name: Option<String>,
    /// FDPOLL=0.
    pub(crate) keep_ended: bool,
}

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

impl Message {
    /// Reads a message; lines that make no sense are skipped.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut message = Self::default();
        let text = String::from_utf8_lossy(bytes);
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match (name, value) {
                ("READY", "1") => message.ready = true,
                ("RELOADING", "1") => message.reloading = true,
                ("MONOTONIC_USEC", value) => message.monotonic_us = value.parse().ok(),
                ("STOPPING", "1") => message.stopping = true,
                ("WATCHDOG", "1") => message.watchdog = true,
                ("WATCHDOG", "trigger") => message.watchdog_trigger = true,
                ("WATCHDOG_USEC", value) => message.watchdog_us = value.parse().ok(),
                ("STATUS", value) => message.status = Some(status(value)),
                ("MAINPID", value) => message.main_pid = value.parse().ok().filter(|pid| *pid > 1),
                ("ERRNO", value) => message.errno = value.parse().ok(),
                ("EXTEND_TIMEOUT_USEC", value) => message.extend_timeout_us = value.parse().ok(),
                ("FDSTORE", "1") => message.store = true,
                ("FDSTOREREMOVE", "1") => message.remove_stored = true,
                ("FDNAME", value) if is_fd_name(value) => message.fd_name = Some(value.into()),
                ("FDPOLL", "0") => message.keep_ended = true,
                _ => {}
            }
        }
        message
    }
}

/// One line for people: bounded, without control characters.
fn status(value: &str) -> String {
    let mut text: String = value
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    while text.len() > MAX_STATUS {
        text.pop();
    }
    text
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_its_known_lines() {
        let text = b"READY=1\nSTATUS=up and\x07running\nMAINPID=42\nWATCHDOG_USEC=5000000\nODD=1\nnonsense\n";
        let message = Message::parse(text);
        assert!(message.ready && !message.watchdog);
        assert_eq!(message.status.as_deref(), Some("up and running"));
        assert_eq!(
            (message.main_pid, message.watchdog_us),
            (Some(42), Some(5_000_000))
        );
    }

    #[test]
    fn descriptors_are_stored_by_a_name_that_can_be_handed_on() {
        let message = Message::parse(b"FDSTORE=1\nFDNAME=data\nFDPOLL=0");
        assert!(message.store && message.keep_ended && !message.remove_stored);
        assert_eq!(message.fd_name.as_deref(), Some("data"));
        let odd = Message::parse(b"FDSTOREREMOVE=1\nFDNAME=a:b");
        assert_eq!((odd.remove_stored, odd.fd_name), (true, None));
    }

    #[test]
    fn pid_1_is_nobodys_main_process() {
        assert_eq!(Message::parse(b"MAINPID=1\n").main_pid, None);
        assert_eq!(Message::parse(b"MAINPID=-7\n").main_pid, None);
    }

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

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let message = Message::parse(&bytes);
            prop_assert!(message.status.is_none_or(|text| text.len() <= MAX_STATUS));
        }
    }
}
