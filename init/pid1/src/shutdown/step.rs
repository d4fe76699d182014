//! A step of the shutdown, or of a sudden end, that may wait for a disk: a child takes it, PID 1 feeds the watchdog and looks at the clock.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};
use spec_unit::control::ExitStatus;

use crate::reap;
use crate::sys;
use crate::watchdog::Watchdog;

/// Time for a step in which the disks take nothing. While they take something it goes on.
const TIME: Duration = Duration::from_secs(20);
/// The same after a step was given up: what hangs once hangs again.
const SHORT_TIME: Duration = Duration::from_secs(2);

/// How a step ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Well.
    Done,
    /// The kernel said no.
    Failed(io::Error),
    /// Not at all.
    Stuck,
}

/// The steps taken, one after the other.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    watchdog: &'a mut Watchdog,
    time: Duration,
}

impl<'a> Steps<'a> {
    /// None taken yet.
    pub(crate) fn new(watchdog: &'a mut Watchdog) -> Self {
        Self {
            watchdog,
            time: TIME,
        }
    }

    /// Takes a step. Where there can be no child it is taken here: what is written counts more than the clock.
    pub(crate) fn take(&mut self, body: impl Fn() -> io::Result<()>) -> Ended {
        let code = || match body() {
            Ok(()) => 0,
            Err(cause) => cause.raw_os_error().unwrap_or(libc::EIO),
        };
        let Ok(child) = sys::clone::worker(code) else {
            return body().map_or_else(Ended::Failed, |()| Ended::Done);
        };
        let (mut begun, mut least) = (Instant::now(), u64::MAX);
        loop {
            match reap::collect(child.pid) {
                Some(ExitStatus::Exited(0)) => return Ended::Done,
                Some(ExitStatus::Exited(errno)) => {
                    return Ended::Failed(io::Error::from_raw_os_error(errno));
                }
                Some(ExitStatus::Signaled(_) | ExitStatus::Dumped(_)) => return Ended::Stuck,
                None => {}
            }
            let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let unwritten = unwritten_kib(&meminfo);
            if unwritten < least {
                (begun, least) = (Instant::now(), unwritten);
            }
            if begun.elapsed() >= self.time {
                // Of no effect while it waits for the disk; it ends with the machine then.
                let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
                self.time = SHORT_TIME.min(self.time);
                return Ended::Stuck;
            }
            self.watchdog.feed();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What the disks have not taken yet, from the text of /proc/meminfo.
fn unwritten_kib(meminfo: &str) -> u64 {
    let field = |name: &str| {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    field("Dirty:").unwrap_or(0) + field("Writeback:").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_ends_well_or_says_why_not() {
        let mut watchdog = Watchdog::none();
        let mut steps = Steps::new(&mut watchdog);
        assert!(matches!(steps.take(|| Ok(())), Ended::Done));
        let busy = steps.take(|| Err(io::Error::from_raw_os_error(libc::EBUSY)));
        assert!(matches!(busy, Ended::Failed(cause) if cause.raw_os_error() == Some(libc::EBUSY)));
    }

    #[test]
    fn a_step_that_does_not_end_is_given_up_and_the_next_is_taken() {
        let mut watchdog = Watchdog::none();
        let mut steps = Steps::new(&mut watchdog);
        steps.time = Duration::ZERO;
        let hung = steps.take(|| {
            loop {
                let _ = rustix::event::poll(&mut [], None);
            }
        });
        assert!(matches!(hung, Ended::Stuck));
        steps.time = TIME;
        assert!(matches!(steps.take(|| Ok(())), Ended::Done));
    }

    #[test]
    fn what_is_not_written_is_dirty_or_on_its_way() {
        let text = "MemTotal: 9 kB\nDirty:       70 kB\nWriteback:    8 kB\nWritebackTmp: 5 kB\n";
        assert_eq!(unwritten_kib(text), 78);
        assert_eq!(unwritten_kib(""), 0);
    }
}
