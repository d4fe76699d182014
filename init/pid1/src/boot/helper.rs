//! Running a node service to its end during boot, when there is nothing to supervise it yet.
//!
//! Each has a deadline and its own process group; the watchdog is fed meanwhile.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use spec_layout::path::SERVICES;

use crate::watchdog::Watchdog;

/// How often a long wait is mentioned.
const MENTION: Duration = Duration::from_secs(30);
/// How often at the least it is looked whether a helper has ended.
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// A node service at work. Dropped without [`Helper::finish`] it works on.
pub(super) struct Helper {
    shown: String,
    child: Child,
    begun: Instant,
}

/// Runs `services ARGUMENTS`; an error says how it ended. What it writes goes to the kernel log.
pub(super) fn run(
    arguments: &[&str],
    deadline: Duration,
    watchdog: &mut Watchdog,
) -> Result<(), String> {
    Helper::start(arguments)?.finish(deadline, watchdog)
}

impl Helper {
    /// Starts `services ARGUMENTS`.
    pub(super) fn start(arguments: &[&str]) -> Result<Helper, String> {
        let shown = arguments.join(" ");
        let log = OpenOptions::new()
            .write(true)
            .open("/dev/kmsg")
            .map_err(|cause| format!("/dev/kmsg: {cause}"))?;
        let child = Command::new(SERVICES)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|cause| format!("{SERVICES} {shown}: {cause}"))?;
        Ok(Helper {
            shown,
            child,
            begun: Instant::now(),
        })
    }

    /// Waits for its end, until `deadline` after its start.
    pub(super) fn finish(self, deadline: Duration, watchdog: &mut Watchdog) -> Result<(), String> {
        let Helper {
            shown,
            mut child,
            begun,
        } = self;
        let mut mention = MENTION;
        let mut pause = Duration::from_millis(2);
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("{shown} failed: {status}")),
                Ok(None) => {}
                Err(cause) => return Err(format!("{shown}: {cause}")),
            }
            if begun.elapsed() >= deadline {
                if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = child.try_wait();
                return Err(format!(
                    "{shown} was not done after {} s and was killed",
                    deadline.as_secs()
                ));
            }
            if begun.elapsed() >= mention {
                crate::notice!(
                    "still waiting for {shown} ({} s of {} s)",
                    mention.as_secs(),
                    deadline.as_secs()
                );
                mention += MENTION;
            }
            watchdog.feed();
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
