//! Descriptors that came from other processes, closed where it may take long.
//!
//! Whoever sends a descriptor away may leave its last close to PID 1, and a close may wait: for what a TCP socket with
//! SO_LINGER has still to send (socket(7)), for the server of a FUSE file, for a terminal to drain; so may that of a
//! Unix socket in whose queue such a one lies. So a child that shares PID 1's table of descriptors closes them, and
//! waits in its place. Only a FIFO is closed at once: nothing waits for it, and BARRIER=1 of sd_notify(3) comes as one.
//!
//! Children that wait are few ([`MOST`]); beyond them descriptors stay open until one of the children ends.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::FileType;

use super::store::kind;
use crate::sys::clone;

/// Most children at a time.
const MOST: usize = 32;
/// Most descriptors that one child is given.
const PORTION: usize = 512;

/// What is being closed.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    children: BTreeSet<i32>,
    waiting: Vec<OwnedFd>,
}

impl Closing {
    /// Closes what came in one message.
    pub(crate) fn close(&mut self, fds: impl IntoIterator<Item = OwnedFd>) {
        let before = self.waiting.len();
        self.waiting
            .extend(fds.into_iter().filter(|fd| !is_fifo(fd.as_fd())));
        if self.waiting.len() > before {
            self.begin();
        }
    }

    /// A child of PID 1 has ended.
    pub(crate) fn ended(&mut self, pid: i32) {
        if self.children.remove(&pid) {
            self.begin();
        }
    }

    /// Begins what waited for a child that could not be made.
    pub(crate) fn begin(&mut self) {
        while !self.waiting.is_empty() && self.children.len() < MOST {
            let rest = self.waiting.len().saturating_sub(PORTION);
            match clone::closer(self.waiting.split_off(rest)) {
                Ok(child) => drop(self.children.insert(child.pid)),
                Err((cause, fds)) => return self.keep(cause, fds),
            }
        }
    }

    fn keep(&mut self, cause: io::Error, fds: Vec<OwnedFd>) {
        crate::debug!("{} descriptors stay open: {cause}", fds.len());
        self.waiting.extend(fds);
    }
}

fn is_fifo(fd: BorrowedFd<'_>) -> bool {
    kind(fd) == Some(FileType::Fifo)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;
    use std::time::{Duration, Instant};

    use rustix::net::sockopt::set_socket_linger;

    use super::*;

    /// A socket whose close waits for its reader, and what holds that.
    fn lingering() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (reader, _) = listener.accept().unwrap();
        set_socket_linger(&sender, Some(Duration::from_secs(20))).unwrap();
        sender.set_nonblocking(true).unwrap();
        while sender.write(&[0; 1 << 16]).is_ok() {}
        (sender.into(), reader)
    }

    #[test]
    fn a_close_that_waits_keeps_nobody() {
        let mut closing = Closing::default();
        let (fd, mut reader) = lingering();
        let began = Instant::now();
        let number = fd.as_raw_fd();
        closing.close([fd]);
        assert!(began.elapsed() < Duration::from_secs(10));
        let [child] = Vec::from_iter(closing.children.clone())[..] else {
            panic!("no child closes it");
        };
        // The reader sees the end of it: nobody else holds it any more.
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert!(!all.is_empty(), "{number}");
        let pid = rustix::process::Pid::from_raw(child);
        let ended = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
        assert_eq!(ended.unwrap().unwrap().1.exit_status(), Some(0));
        closing.ended(child);
        assert!(closing.children.is_empty() && closing.waiting.is_empty());
    }

    #[test]
    fn the_fifo_of_a_barrier_is_closed_at_once() {
        let mut closing = Closing::default();
        let (mut read, write) = clone::pipe().unwrap();
        closing.close([write.into()]);
        assert!(closing.children.is_empty());
        assert_eq!(read.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn what_no_child_is_free_for_waits() {
        let mut closing = Closing::default();
        closing.children.extend(-(MOST as i32)..0);
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        closing.close([one.into()]);
        assert_eq!(closing.waiting.len(), 1);
        closing.ended(-1);
        assert!(closing.waiting.is_empty());
        let child = closing.children.last().copied().unwrap();
        let pid = rustix::process::Pid::from_raw(child);
        assert!(rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).is_ok());
    }
}
