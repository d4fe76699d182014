//! Pid files that name a process beyond doubt: its id and its start time.
//!
//! A daemon that was killed leaves pid files; the next run reaps what they name, and never a stranger
//! that got the same id: the start time (field 22 of /proc/PID/stat, proc_pid_stat(5)) must match.

use crate::error::{Error, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::{fs, path::Path, time::Duration};

/// A process of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub start_time: u64,
}

impl Identity {
    /// Of a running process.
    pub fn of(pid: i32) -> Option<Identity> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let start_time = start_time(&stat)?;
        Some(Identity { pid, start_time })
    }

    /// From the text of a pid file.
    pub fn parse(text: &str) -> Option<Identity> {
        let (pid, start_time) = text.trim().split_once(' ')?;
        let pid = pid.parse().ok().filter(|pid| *pid > 1)?;
        Some(Identity {
            pid,
            start_time: start_time.parse().ok()?,
        })
    }

    /// Runs still, as the same process, and is not a zombie.
    pub fn alive(self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        start_time(&stat) == Some(self.start_time) && state(&stat) != Some('Z')
    }

    /// Writes the pid file.
    pub fn write(self, path: &Path) -> Result<()> {
        fs::write(path, format!("{} {}\n", self.pid, self.start_time))
            .map_err(Error::io("write", path))
    }

    /// Sends a signal, only if it is still the same process. True if it was sent.
    pub fn signal(self, signal: Signal) -> bool {
        let Some(fd) =
            Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            return false;
        };
        // Checked after the pidfd is held: the id cannot change its owner any more.
        self.alive() && pidfd_send_signal(&fd, signal).is_ok()
    }
}

/// Kills what a pid file names, if it still runs, waits until it is gone, and removes the file.
/// True if there was something to kill.
pub fn reap(path: &Path) -> Result<bool> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let mut killed = false;
    if let Some(process) = Identity::parse(&text) {
        killed = process.signal(Signal::KILL);
        let mut left = 200;
        while killed && process.alive() {
            left -= 1;
            if left == 0 {
                return Err(Error::Failed(format!(
                    "process {} does not die",
                    process.pid
                )));
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }
    fs::remove_file(path).map_err(Error::io("remove", path))?;
    Ok(killed)
}

/// Fields after the program's name, which may hold spaces and parentheses.
fn after_name(stat: &str) -> Option<&str> {
    stat.rsplit_once(") ").map(|(_, rest)| rest)
}

fn state(stat: &str) -> Option<char> {
    after_name(stat)?.chars().next()
}

fn start_time(stat: &str) -> Option<u64> {
    after_name(stat)?.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = "42 (a) R (b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        assert_eq!(state(stat), Some('S'));
        assert_eq!(start_time(stat), Some(777));
    }

    #[test]
    fn reap_kills_ours_and_spares_a_stranger_with_the_same_id() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vm.pid");
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let ours = Identity::of(child.id() as i32).unwrap();

        let stranger = Identity {
            start_time: ours.start_time + 1,
            ..ours
        };
        stranger.write(&file).unwrap();
        assert!(!reap(&file).unwrap());
        assert!(!file.exists());
        assert!(ours.alive());

        ours.write(&file).unwrap();
        assert!(reap(&file).unwrap());
        assert!(!ours.alive());
        child.wait().unwrap();
    }

    #[test]
    fn a_garbage_pid_file_kills_nobody() {
        for text in ["", "1 5", "-4 5", "0 0", "12", "x y", "99999999999999 1"] {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
    }
}
