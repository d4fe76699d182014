//! Lines for the consoles while units are supervised.
//!
//! To close a serial console is to wait until its last byte is on the wire, and to open it sets the port up anew: with
//! hundreds of units that is most of a boot. So consoles stay open here, and what is said waits in memory until the
//! loop hands it over, as much as fits ([`drain`]). What is more than news of a unit is not kept waiting: it goes out after all that waits,
//! as it does where there is no queue.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Level, SINK, on_console, open_console};

/// Most bytes that wait for a console; what is more is in the kernel log alone.
const MOST_WAITING: usize = 256 * 1024;

/// How long what cannot wait is kept by what stands before it.
const URGENT: Duration = Duration::from_millis(100);
/// How long the last lines may take.
const LAST: Duration = Duration::from_secs(2);
/// How long a console that takes no more is left alone.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// The consoles of the process that began; in its children, which close its descriptors, there is no queue.
struct Queue {
    owner: u32,
    consoles: Vec<Console>,
}

struct Console {
    name: String,
    tty: Option<File>,
    waiting: Vec<u8>,
}

static QUEUE: Mutex<Option<Queue>> = Mutex::new(None);

/// From now on news waits for the next turn.
pub(crate) fn begin() {
    let names = SINK.get().map(|sink| sink.consoles.clone());
    let consoles = names.unwrap_or_default().into_iter().map(Console::new);
    *QUEUE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Queue {
        owner: std::process::id(),
        consoles: consoles.collect(),
    });
}

/// No more: what waits goes out now.
pub(crate) fn end() {
    let queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(mut queue) = queue.filter(Queue::is_own) {
        queue.flush(LAST);
    }
}

/// Hands over what waits, as far as the consoles take it; whether something is left.
pub(crate) fn drain() -> bool {
    let Ok(mut queue) = QUEUE.try_lock() else {
        return false;
    };
    let mut left = false;
    for console in queue.iter_mut().flat_map(|queue| &mut queue.consoles) {
        left |= console.drain();
    }
    left
}

/// Takes a line, if it is one that may wait.
pub(super) fn take(level: Level, line: &str) -> bool {
    // Held already where a panic is told of.
    let Ok(mut guard) = QUEUE.try_lock() else {
        return false;
    };
    let Some(queue) = guard.as_mut().filter(|queue| queue.is_own()) else {
        return false;
    };
    if level < Level::Info {
        queue.flush(URGENT);
        return false;
    }
    let line = on_console(line);
    for console in &mut queue.consoles {
        if !console.has_room(&line) {
            console.drain();
        }
        if console.has_room(&line) {
            console.waiting.extend_from_slice(line.as_bytes());
        }
    }
    true
}

impl Queue {
    fn is_own(&self) -> bool {
        self.owner == std::process::id()
    }

    /// Waits for the consoles, so long together; what they have not taken then is in the kernel log alone.
    fn flush(&mut self, most: Duration) {
        let end = Instant::now() + most;
        for console in &mut self.consoles {
            while console.drain() && Instant::now() < end {
                console.wait();
            }
            console.waiting.clear();
        }
    }
}

impl Console {
    fn new(name: String) -> Self {
        Self {
            name,
            tty: None,
            waiting: Vec::new(),
        }
    }

    fn has_room(&self, line: &str) -> bool {
        self.waiting.len() + line.len() <= MOST_WAITING
    }

    /// Until it takes more, at most [`PAUSE`].
    fn wait(&self) {
        let pause = Timespec::try_from(PAUSE).unwrap_or_default();
        if let Some(tty) = &self.tty {
            let _ = poll(&mut [PollFd::new(tty, PollFlags::OUT)], Some(&pause));
        }
    }

    /// Whether something is left. A console that was hung up is opened anew; one that is not there loses the lines.
    fn drain(&mut self) -> bool {
        let mut opened = false;
        while !self.waiting.is_empty() {
            if self.tty.is_none() && !std::mem::replace(&mut opened, true) {
                self.tty = open_console(&self.name).ok();
            }
            let Some(tty) = &mut self.tty else {
                self.waiting.clear();
                break;
            };
            match tty.write(&self.waiting) {
                Ok(written) if written > 0 => drop(self.waiting.drain(..written)),
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) if cause.kind() != ErrorKind::WouldBlock => self.tty = None,
                _ => return true,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_a_console_does_not_take_waits_in_order() {
        let (mut read, write) = crate::sys::clone::pipe().unwrap();
        let mut console = Console::new("none".into());
        console.tty = Some(write);
        let text: Vec<u8> = (0..200_000u32).map(|n| b'a' + (n % 26) as u8).collect();
        console.waiting.clone_from(&text);
        let mut seen = Vec::new();
        while console.drain() {
            let mut part = vec![0; 70_000];
            let length = read.read(&mut part).unwrap();
            seen.extend_from_slice(&part[..length]);
        }
        drop(console);
        read.read_to_end(&mut seen).unwrap();
        assert_eq!(seen, text);
    }

    #[test]
    fn a_console_that_is_gone_keeps_nothing() {
        let (read, write) = crate::sys::clone::pipe().unwrap();
        drop(read);
        let mut console = Console::new("no-such-console".into());
        console.tty = Some(write);
        console.waiting = b"line".to_vec();
        assert!(!console.drain() && console.waiting.is_empty() && console.tty.is_none());
    }
}
