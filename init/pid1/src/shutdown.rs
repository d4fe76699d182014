//! The end: after the units were stopped, what is left is ended, file systems are left clean, and the machine goes.
//!
//! Every wait has a deadline and names what it waits for; the watchdog is fed until the last call and stays armed
//! over a reboot. A shutdown never hangs: what cannot be done in time is said and left. So whatever may wait for a
//! disk is done by a child ([`step`]).
//!
//! Source: reboot(2), umount2(2), systemd-shutdown(8).

use std::ffi::CString;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::WaitOptions;
use spec_layout::path::STATE_RUNNING;
use spec_unit::control::ShutdownAction;

use crate::error::What;
use crate::mount_table;
use crate::watchdog::Watchdog;

pub(crate) mod step;

use step::Ended;

/// Where what the firmware is told at a reboot stands, as for systemd.
pub(crate) const ARGUMENT: &str = "/run/systemd/reboot-param";
/// Time for stragglers between SIGTERM and SIGKILL: units had their own time already.
const TERM_TIME: Duration = Duration::from_secs(5);
/// Time for what was killed to be gone; a process that waits for a dead disk never is.
const KILL_TIME: Duration = Duration::from_secs(5);
/// How often all file systems are tried: one may hold another.
const ROUNDS: usize = 5;
/// The kernel's own, and the root: nothing of them is written to a disk.
const KEPT: [&str; 5] = ["/", "/proc", "/sys", "/dev", "/run"];

/// A thread of the kernel's (linux/sched.h).
const PF_KTHREAD: u32 = 0x0020_0000;

/// Ends the node. Returns only if the kernel refuses, and then the kernel panics and reboots.
pub(crate) fn finish(action: ShutdownAction, watchdog: &mut Watchdog) -> ExitCode {
    end_processes(watchdog);
    let mut steps = step::Steps::new(watchdog);
    match steps.take(|| std::fs::remove_file(STATE_RUNNING)) {
        Ended::Failed(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            crate::error!("{}: {STATE_RUNNING}: {cause}", What::Shutdown);
        }
        Ended::Stuck => crate::error!("{}: {STATE_RUNNING} stays: its disk hangs", What::Shutdown),
        _ => {}
    }
    sync(&mut steps);
    leave_clean(&mut steps);
    sync(&mut steps);
    crate::info!(
        "{}",
        match action {
            ShutdownAction::Reboot => "rebooting",
            ShutdownAction::Poweroff => "powering off",
            ShutdownAction::Halt => "halted",
        }
    );
    watchdog.finish(action == ShutdownAction::Reboot);
    let cause = go(action);
    crate::emergency!("{}: reboot(2): {cause}", What::Shutdown);
    ExitCode::FAILURE
}

/// Ends the node here and now: nothing is ended, unmounted or written. Returns if the kernel refuses.
pub(crate) fn at_once(action: ShutdownAction) {
    crate::emergency!("{action:?} at once");
    let cause = go(action);
    crate::emergency!("{}: reboot(2): {cause}", What::Shutdown);
}

/// The last call, with what [`ARGUMENT`] holds for the firmware. Returns why it failed.
fn go(action: ShutdownAction) -> std::io::Error {
    let argument = std::fs::read(ARGUMENT).ok();
    let argument = argument.and_then(|text| CString::new(text.trim_ascii()).ok());
    if let (ShutdownAction::Reboot, Some(argument)) = (action, argument)
        && !argument.is_empty()
    {
        let cause = crate::sys::reboot::with_argument(&argument);
        crate::error!("{}: reboot with an argument: {cause}", What::Shutdown);
    }
    let Err(cause) = reboot(match action {
        ShutdownAction::Reboot => RebootMode::RB_AUTOBOOT,
        ShutdownAction::Poweroff => RebootMode::RB_POWER_OFF,
        ShutdownAction::Halt => RebootMode::RB_HALT_SYSTEM,
    });
    cause.into()
}

/// Ends every process but this one: first asked, then made.
fn end_processes(watchdog: &mut Watchdog) {
    for (signal, time) in [(Signal::SIGTERM, TERM_TIME), (Signal::SIGKILL, KILL_TIME)] {
        if kill(Pid::from_raw(-1), signal).is_err() {
            return;
        }
        // A stopped process hears SIGTERM only when it runs on.
        let _ = kill(Pid::from_raw(-1), Signal::SIGCONT);
        let begun = Instant::now();
        while begun.elapsed() < time {
            if reap() {
                return;
            }
            watchdog.feed();
            std::thread::sleep(Duration::from_millis(20));
        }
        crate::warning!(
            "{}: after {signal} and {} s still there: {}",
            What::Shutdown,
            time.as_secs(),
            names(&processes())
        );
    }
}

/// Collects what has ended; whether nothing is left.
fn reap() -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

/// Name and number of every process that runs, without the kernel's threads.
fn processes() -> Vec<(String, u32)> {
    let entries = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok());
    let numbers = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|&pid| pid != 1);
    numbers
        .filter_map(|pid| {
            let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
            Some((name(&String::from_utf8_lossy(&stat))?, pid))
        })
        .collect()
}

/// The name of a process by its /proc/PID/stat; none of a thread of the kernel's or of what has ended. Its command
/// line would tell more, but to read that waits for the memory of a process that may hang.
fn name(stat: &str) -> Option<String> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut fields = after.split_ascii_whitespace();
    let state = fields.next()?;
    let flags: u32 = fields.nth(5)?.parse().ok()?;
    let runs = !matches!(state, "Z" | "X") && flags & PF_KTHREAD == 0;
    runs.then(|| name.to_owned())
}

fn names(processes: &[(String, u32)]) -> String {
    let shown: Vec<String> = processes
        .iter()
        .take(8)
        .map(|(name, pid)| format!("{name} ({pid})"))
        .collect();
    let more = processes.len().saturating_sub(shown.len());
    if more == 0 {
        shown.join(", ")
    } else {
        format!("{} and {more} more", shown.join(", "))
    }
}

/// Writes what is not on the disks yet.
fn sync(steps: &mut step::Steps<'_>) {
    let ended = steps.take(|| {
        rustix::fs::sync();
        Ok(())
    });
    if matches!(ended, Ended::Stuck) {
        crate::error!(
            "{}: not everything is written: a disk hangs",
            What::Shutdown
        );
    }
}

/// Unmounts everything but the root and the kernel's own, last mounted first; what stays becomes read-only.
fn leave_clean(steps: &mut step::Steps<'_>) {
    let mut stuck = Vec::new();
    let left = |stuck: &[String]| {
        let mut left = to_unmount(&read_table());
        left.retain(|target| !stuck.contains(target));
        left
    };
    for _ in 0..ROUNDS {
        let mut done = 0;
        for target in left(&stuck) {
            let unmount = || Ok(unmount(target.as_str(), UnmountFlags::NOFOLLOW)?);
            match steps.take(unmount) {
                Ended::Done => done += 1,
                // Busy: what holds it may go in this round.
                Ended::Failed(_) => {}
                Ended::Stuck => {
                    crate::error!(
                        "{}: {target} is not unmounted: its disk hangs",
                        What::Shutdown
                    );
                    stuck.push(target);
                }
            }
        }
        if done == 0 {
            break;
        }
    }
    for target in left(&stuck) {
        let read_only = || Ok(mount_remount(Path::new(&target), MountFlags::RDONLY, c"")?);
        match steps.take(read_only) {
            Ended::Done => crate::warning!(
                "{}: {target} is busy and was made read-only",
                What::Shutdown
            ),
            Ended::Failed(cause) => crate::error!(
                "{}: {target} is busy and stays writable: {cause}",
                What::Shutdown
            ),
            Ended::Stuck => crate::error!(
                "{}: {target} is busy and stays writable: its disk hangs",
                What::Shutdown
            ),
        }
    }
}

fn read_table() -> Vec<mount_table::Mount> {
    mount_table::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// What is to be unmounted, in order.
fn to_unmount(table: &[mount_table::Mount]) -> Vec<String> {
    let below = |target: &str, kept: &str| {
        kept != "/"
            && target
                .strip_prefix(kept)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    let kernels = |target: &str| {
        ["/proc", "/sys", "/dev"]
            .iter()
            .any(|kept| below(target, kept))
    };
    let targets = table.iter().rev().map(|mount| mount.target.as_str());
    targets
        .filter(|target| !KEPT.contains(target) && !kernels(target))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mounted_last_is_unmounted_first_and_the_kernels_own_stays() {
        let text = [
            "/",
            "/dev",
            "/proc",
            "/sys",
            "/run",
            "/dev/shm",
            "/sys/fs/cgroup",
            "/etc",
            "/state",
            "/var",
            "/run/x",
        ]
        .map(|target| format!("1 1 0:1 / {target} rw - x x rw\n"))
        .concat();
        assert_eq!(
            to_unmount(&mount_table::parse(&text)),
            ["/run/x", "/var", "/state", "/etc"]
        );
    }

    #[test]
    fn a_process_is_told_from_the_kernels_threads_without_its_memory() {
        let stat = |state, flags| format!("7 (a) (b) {state} 1 7 7 0 -1 {flags} 9 0 0");
        assert_eq!(name(&stat("D", 0x40_0100)).as_deref(), Some("a) (b"));
        assert_eq!(name(&stat("S", 0x20_8040)), None);
        assert_eq!(name(&stat("Z", 0x40_0100)), None);
        assert_eq!(name("7 (cut"), None);
        assert!(
            processes()
                .iter()
                .any(|(_, pid)| *pid == std::process::id())
        );
    }

    #[test]
    fn a_crowd_is_named_in_part() {
        let crowd: Vec<(String, u32)> = (10..20).map(|pid| ("sleep".to_owned(), pid)).collect();
        assert!(names(&crowd).ends_with("sleep (17) and 2 more"));
        assert_eq!(names(&crowd[..1]), "sleep (10)");
    }
}
