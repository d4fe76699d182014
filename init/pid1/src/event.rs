//! The event loop's wait: epoll over everything PID 1 listens to, with the next clock as its timeout.
//!
//! One thread, no callbacks: [`Events::wait`] says what is ready and the caller acts on it. Signals come as a
//! descriptor, so nothing runs in a signal handler.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Who has something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Signals.
    Signals,
    /// The notify socket.
    Notify,
    /// Changes of control groups.
    Cgroups,
    /// New clients of the control socket.
    Control,
    /// A client of the control socket.
    Client(u32),
    /// The report of a child that is about to run its program.
    Exec(u32),
    /// The end of a process that a service named as its main one.
    Named(u32),
    /// A stored descriptor that is of no more use.
    Stored(u32),
    /// The table of mounts.
    Mounts,
    /// Memory is short in a group that is watched.
    Pressure(u32),
}

impl Source {
    fn token(self) -> u64 {
        match self {
            Self::Signals => 0,
            Self::Notify => 1,
            Self::Cgroups => 2,
            Self::Control => 3,
            Self::Mounts => 4,
            Self::Client(number) => 1 << 32 | u64::from(number),
            Self::Exec(number) => 2 << 32 | u64::from(number),
            Self::Named(number) => 3 << 32 | u64::from(number),
            Self::Stored(number) => 4 << 32 | u64::from(number),
            Self::Pressure(number) => 5 << 32 | u64::from(number),
        }
    }

    fn from_token(token: u64) -> Option<Self> {
        let number = token as u32;
        match (token >> 32, number) {
            (0, 0) => Some(Self::Signals),
            (0, 1) => Some(Self::Notify),
            (0, 2) => Some(Self::Cgroups),
            (0, 3) => Some(Self::Control),
            (0, 4) => Some(Self::Mounts),
            (1, number) => Some(Self::Client(number)),
            (2, number) => Some(Self::Exec(number)),
            (3, number) => Some(Self::Named(number)),
            (4, number) => Some(Self::Stored(number)),
            (5, number) => Some(Self::Pressure(number)),
            _ => None,
        }
    }
}

/// Waits for whoever has something to say.
#[derive(Debug)]
pub(crate) struct Events {
    epoll: Epoll,
    signals: SignalFd,
}

/// Signals taken from the loop. SIGRTMIN+N come beside them.
const SIGNALS: [Signal; 5] = [
    Signal::SIGCHLD,
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGPWR,
    Signal::SIGHUP,
];

impl Events {
    /// Blocks the signals of the loop and opens what it waits with.
    pub(crate) fn open() -> io::Result<Self> {
        let mut set = SigSet::empty();
        SIGNALS.iter().for_each(|signal| set.add(*signal));
        crate::sys::signal::add_real_time(&mut set);
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let events = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            signals,
        };
        events.add(&events.signals, Source::Signals)?;
        Ok(events)
    }

    /// Listens to a descriptor.
    pub(crate) fn add(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        Ok(self
            .epoll
            .add(fd, EpollEvent::new(EpollFlags::EPOLLIN, source.token()))?)
    }

    /// Waits for what the kernel tells beside the text of a file of its own (EPOLLPRI), as a change of /proc/self/mountinfo.
    pub(crate) fn add_change(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLPRI, source.token());
        Ok(self.epoll.add(fd, event)?)
    }

    /// Waits until a descriptor is hung up or broken (EPOLLHUP, EPOLLERR), which some kinds never are.
    pub(crate) fn add_end(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        match self.add_hang_up(fd, source) {
            Err(cause) if cause.raw_os_error() == Some(libc::EPERM) => Ok(()),
            added => added,
        }
    }

    /// Waits until the other end of a descriptor is closed: what was said before is read then.
    pub(crate) fn add_hang_up(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::empty(), source.token());
        Ok(self.epoll.add(fd, event)?)
    }

    /// Also waits until a descriptor can be written to, or no longer.
    pub(crate) fn writable(
        &self,
        fd: BorrowedFd<'_>,
        source: Source,
        wanted: bool,
    ) -> io::Result<()> {
        let flags = if wanted {
            EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT
        } else {
            EpollFlags::EPOLLIN
        };
        Ok(self
            .epoll
            .modify(fd, &mut EpollEvent::new(flags, source.token()))?)
    }

    /// Listens to a descriptor no more.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        let _ = self.epoll.delete(fd);
    }

    /// Waits at most so long.
    pub(crate) fn wait(&self, timeout: Duration) -> io::Result<Vec<Source>> {
        let mut ready = [EpollEvent::empty(); 64];
        let timeout = i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let timeout = EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::MAX);
        let count = match self.epoll.wait(&mut ready, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(cause) => return Err(cause.into()),
        };
        Ok(ready
            .iter()
            .take(count)
            .filter_map(|event| Source::from_token(event.data()))
            .collect())
    }

    /// The next signal.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.signals
            .read_signal()
            .ok()
            .flatten()
            .map(|info| info.ssi_signo as i32)
    }
}

/// Clocks by what they are for.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    at: BTreeMap<K, u64>,
    order: BTreeSet<(u64, K)>,
    /// Set, stopped or run out since that was last asked.
    changed: BTreeSet<K>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self {
            at: BTreeMap::new(),
            order: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord> Timers<K> {
    /// Sets or stops a clock.
    pub(crate) fn set(&mut self, key: K, at_us: Option<u64>) {
        if let Some(old) = self.at.remove(&key) {
            self.order.remove(&(old, key));
        }
        if let Some(at) = at_us {
            self.at.insert(key, at);
            self.order.insert((at, key));
        }
        self.changed.insert(key);
    }

    /// Clocks that were set, were stopped or ran out since the last call.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<K> {
        std::mem::take(&mut self.changed)
    }

    /// Clocks that are set, from `first` to `last`.
    pub(crate) fn between(&self, first: K, last: K) -> impl Iterator<Item = (K, u64)> + '_ {
        self.at.range(first..=last).map(|(key, at)| (*key, *at))
    }

    /// When a clock runs out, if it is set.
    pub(crate) fn at(&self, key: K) -> Option<u64> {
        self.at.get(&key).copied()
    }

    /// When the next clock runs out.
    pub(crate) fn next_us(&self) -> Option<u64> {
        self.order.first().map(|(at, _)| *at)
    }

    /// A clock that has run out, stopped by this.
    pub(crate) fn due(&mut self, now_us: u64) -> Option<K> {
        let (at, key) = *self.order.first()?;
        if at > now_us {
            return None;
        }
        self.set(key, None);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_comes_back_from_its_token() {
        let sources = [
            Source::Signals,
            Source::Notify,
            Source::Cgroups,
            Source::Control,
            Source::Client(7),
            Source::Exec(u32::MAX),
            Source::Named(7),
            Source::Mounts,
            Source::Pressure(7),
        ];
        for source in sources {
            assert_eq!(Source::from_token(source.token()), Some(source));
        }
        assert_eq!(Source::from_token(99), None);
    }

    #[test]
    fn clocks_run_out_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set("b", Some(20));
        timers.set("a", Some(10));
        timers.set("c", Some(30));
        timers.set("c", None);
        timers.set("a", Some(25));
        assert_eq!(timers.next_us(), Some(20));
        assert!(timers.between("b", "c").eq([("b", 20)]));
        assert!(timers.take_changed().into_iter().eq(["a", "b", "c"]));
        assert_eq!(timers.due(19), None);
        assert_eq!(
            [timers.due(99), timers.due(99), timers.due(99)],
            [Some("b"), Some("a"), None]
        );
    }

    #[test]
    fn what_is_ready_is_told_and_the_wait_ends() {
        let events = Events::open().unwrap();
        let (read, write) = crate::sys::clone::pipe().unwrap();
        events.add(&read, Source::Exec(3)).unwrap();
        assert_eq!(events.wait(Duration::from_millis(1)).unwrap(), []);
        drop(write);
        assert_eq!(
            events.wait(Duration::from_secs(5)).unwrap(),
            [Source::Exec(3)]
        );
    }
}
