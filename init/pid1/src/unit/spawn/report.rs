//! What became of a child's exec.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use crate::sys::message;

/// What a child says right before it runs its program.
pub(crate) const READY: u8 = b'r';
/// What a child says of a step that failed begins with it. Then come errno and what the step is called.
pub(crate) const FAILED: u8 = b'f';
/// Most bytes of anything that a child says.
pub(crate) const MOST_BYTES: usize = crate::image::TOLD_BYTES;

/// Reads what became of exec.
#[derive(Debug)]
pub(crate) struct ExecReport {
    /// PID 1's end of a SOCK_SEQPACKET pair.
    pub(crate) socket: OwnedFd,
    /// Namespaces that the child has made for its unit.
    pub(crate) namespaces: Vec<(Shared, OwnedFd)>,
    /// It said that it is about to run its program.
    pub(super) ready: bool,
    /// Why the step failed that it will say failed, where that takes more than an error's number.
    pub(super) told: Option<String>,
    pub(super) program: String,
}

/// What became of exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExecOutcome {
    /// The program runs.
    Runs,
    /// The child is not there yet.
    Pending,
    /// It does not, and why.
    Failed(String),
}

impl ExecReport {
    /// The program, and whether it is about to run, for [`again`](Self::again).
    pub(crate) fn parts(&self) -> (String, bool) {
        (self.program.clone(), self.ready)
    }

    /// A report that the last image of PID 1 waited for.
    pub(crate) fn again(socket: OwnedFd, program: String, ready: bool) -> Self {
        Self {
            socket,
            namespaces: Vec::new(),
            ready,
            told: None,
            program,
        }
    }

    /// What is to be executed.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// Looks, without waiting.
    pub(crate) fn outcome(&mut self) -> ExecOutcome {
        loop {
            let mut report = [0; MOST_BYTES];
            let received = match message::receive(self.socket.as_fd(), &mut report) {
                Ok(received) => received,
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    return ExecOutcome::Pending;
                }
                Err(cause) => return ExecOutcome::Failed(format!("{}: {cause}", self.program)),
            };
            match (received.length, report.first()) {
                (0, _) if self.ready => return ExecOutcome::Runs,
                (0, _) => {
                    let message = format!("{}: it ended before it could run", self.program);
                    return ExecOutcome::Failed(message);
                }
                (1, Some(&READY)) => self.ready = true,
                (1, Some(letter)) => {
                    let kinds = Shared::ALL.into_iter();
                    let kind = kinds.filter(|kind| kind.letter() == *letter);
                    self.namespaces.extend(kind.zip(received.fds));
                }
                (length, Some(&FAILED)) => {
                    let said = report.get(1..length).unwrap_or_default();
                    return ExecOutcome::Failed(self.failure(said));
                }
                (crate::image::TOLD_BYTES, Some(&crate::image::FAILED)) => {
                    let text = report.iter().skip(1).take_while(|byte| **byte != 0);
                    let text: Vec<u8> = text.copied().collect();
                    self.told = Some(String::from_utf8_lossy(&text).into_owned());
                }
                _ => return ExecOutcome::Failed(format!("{}: broken report", self.program)),
            }
        }
    }

    /// Of errno and what the step is called.
    fn failure(&mut self, said: &[u8]) -> String {
        let (errno, step) = said.split_first_chunk().unwrap_or((&[0; 4], b"start"));
        let cause = io::Error::from_raw_os_error(i32::from_ne_bytes(*errno));
        let cause = self.told.take().unwrap_or_else(|| cause.to_string());
        let step = String::from_utf8_lossy(step).replace('\n', " ");
        format!("{}: {step}: {cause}", self.program)
    }
}

/// Namespaces that the processes of a unit share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shared {
    /// CLONE_NEWNET.
    Network,
    /// CLONE_NEWIPC.
    Ipc,
}

impl Shared {
    /// Both.
    const ALL: [Self; 2] = [Self::Network, Self::Ipc];

    /// Flag of unshare(2) and setns(2).
    pub(super) fn flag(self) -> c_int {
        match self {
            Self::Network => libc::CLONE_NEWNET,
            Self::Ipc => libc::CLONE_NEWIPC,
        }
    }

    /// The namespace of the process that asks.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Network => "/proc/self/ns/net",
            Self::Ipc => "/proc/self/ns/ipc",
        }
    }

    /// How a child names it.
    pub(super) fn letter(self) -> u8 {
        match self {
            Self::Network => b'n',
            Self::Ipc => b'i',
        }
    }
}

/// The namespaces of one unit that have been made.
#[derive(Debug, Default)]
pub(crate) struct UnitNamespaces {
    network: Option<OwnedFd>,
    ipc: Option<OwnedFd>,
}

impl UnitNamespaces {
    /// Descriptor of one, if it has been made.
    pub(crate) fn get(&self, kind: Shared) -> Option<RawFd> {
        let fd = match kind {
            Shared::Network => &self.network,
            Shared::Ipc => &self.ipc,
        };
        fd.as_ref().map(|fd| fd.as_raw_fd())
    }

    /// Keeps one.
    pub(crate) fn keep(&mut self, kind: Shared, fd: OwnedFd) {
        match kind {
            Shared::Network => self.network = Some(fd),
            Shared::Ipc => self.ipc = Some(fd),
        }
    }
}
