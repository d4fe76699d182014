//! The hardware watchdog: resets the machine when PID 1 no longer turns its event loop.
//!
//! Fed from the event loop and from boot's own waits, never from a timer or a thread, so that a PID 1 which hangs
//! is a PID 1 which stops feeding. A driver may appear late (its module is loaded by the device service):
//! [`Watchdog::feed`] looks for one until it finds it. The kernel's softdog is taken only when nothing better came
//! within [`PATIENCE`]: it catches a hung PID 1, not a hung kernel.
//!
//! Source: Documentation/watchdog/watchdog-api.rst.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use spec_layout::command_line::CommandLine;

use crate::early::modules::Loader;
use crate::error::{self, Error, Result, What};
use crate::sys;

/// Timeout when the command line names none: several times what a boot phase may take without feeding.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait for hardware before softdog is asked for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often to look for a device while there is none.
const RETRY: Duration = Duration::from_secs(10);
/// What softdog calls itself.
const SOFTDOG: &str = "Software Watchdog";

/// What `bedplate.watchdog=` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Leave the hardware alone.
    Off,
    /// Reset after this long without food.
    Timeout(Duration),
}

impl Setting {
    /// Reads the word of the command line; without one the default timeout. Bounded to what hardware can.
    pub(crate) fn parse(word: Option<&str>) -> Result<Setting> {
        match word {
            None => Ok(Setting::Timeout(DEFAULT_TIMEOUT)),
            Some("off") => Ok(Setting::Off),
            Some(word) => match word.parse::<u64>() {
                Ok(seconds @ 5..=3600) => Ok(Setting::Timeout(Duration::from_secs(seconds))),
                _ => Err(Error::new(
                    What::Watchdog,
                    format!(
                        "bedplate.watchdog={word}: write 5 to 3600 seconds, or off; using {DEFAULT_TIMEOUT:?}"
                    ),
                )),
            },
        }
    }
}

impl Default for Setting {
    fn default() -> Self {
        Setting::Timeout(DEFAULT_TIMEOUT)
    }
}

/// The device that is armed, for a sudden end ([`Watchdog::armed`]). It keeps nothing open.
static ARMED: Mutex<Weak<File>> = Mutex::new(Weak::new());

/// The watchdog of this machine, or the wait for one.
#[derive(Debug)]
pub(crate) struct Watchdog {
    setting: Setting,
    device: Option<Arc<File>>,
    timeout: Duration,
    begun: Instant,
    next: Instant,
    softdog_asked: bool,
    reset_us: bool,
}

impl Watchdog {
    /// None yet, and none is looked for.
    pub(crate) fn none() -> Watchdog {
        Watchdog::open(Setting::Off, None)
    }

    /// The watchdog that is armed already, for whoever ends the machine and was not handed it; none is looked for.
    pub(crate) fn armed() -> Watchdog {
        let mut watchdog = Watchdog::none();
        // Not waiting: a panic may come from anywhere.
        let device = ARMED.try_lock().ok().and_then(|armed| armed.upgrade());
        if let Some(device) = device {
            let seconds = sys::watchdog::timeout(&device).ok();
            let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
            watchdog.timeout = seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
            watchdog.device = Some(device);
            watchdog.next = watchdog.begun;
        }
        watchdog
    }

    /// Takes over the watchdog that the initramfs armed, or opens the machine's if there is one yet.
    pub(crate) fn open(setting: Setting, inherited: Option<File>) -> Watchdog {
        let now = Instant::now();
        let mut watchdog = Watchdog {
            setting,
            device: None,
            timeout: DEFAULT_TIMEOUT,
            begun: now,
            next: now,
            softdog_asked: false,
            reset_us: false,
        };
        match (inherited, setting) {
            (Some(device), Setting::Timeout(wanted)) => watchdog.take(device, wanted),
            _ => watchdog.feed(),
        }
        watchdog
    }

    /// Number under which the next program finds the armed device ([`sys::watchdog::inherited`]). Closing it would
    /// do no harm, but the kernel would complain at every boot.
    pub(crate) fn for_exec(&self) -> Option<i32> {
        let device = self.device.as_deref()?;
        rustix::io::fcntl_setfd(device, rustix::io::FdFlags::empty()).ok()?;
        Some(device.as_raw_fd())
    }

    /// Number of the armed device, for the mirror.
    pub(crate) fn number(&self) -> Option<i32> {
        Some(self.device.as_deref()?.as_raw_fd())
    }

    /// How often [`feed`](Self::feed) wants to be called at the least.
    pub(crate) fn period(&self) -> Duration {
        if self.device.is_some() {
            self.timeout / 4
        } else {
            RETRY
        }
    }

    /// Feeds the watchdog, or looks for one. Cheap when called too often.
    pub(crate) fn feed(&mut self) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        match &self.device {
            Some(device) => {
                if let Err(cause) = sys::watchdog::keep_alive(device) {
                    crate::error!("{}: {cause}", What::Watchdog);
                }
            }
            None => self.look(now),
        }
        self.next = now + self.period() / 2;
    }

    /// Whether the hardware says that it was the one to reset the machine.
    pub(crate) fn reset_us(&self) -> bool {
        self.reset_us
    }

    /// Before a reboot: stays armed, so that a reboot which hangs ends all the same. Before a power-off or halt:
    /// disarmed, by the letter that drivers take as "I mean it".
    pub(crate) fn finish(&mut self, reboot: bool) {
        let Some(device) = &self.device else {
            return;
        };
        let done = if reboot {
            sys::watchdog::keep_alive(device)
        } else {
            device.as_ref().write_all(b"V")
        };
        if let Err(cause) = done {
            crate::warning!("{}: {cause}", What::Watchdog);
        }
        if !reboot {
            self.device = None;
        }
    }

    fn look(&mut self, now: Instant) {
        let Setting::Timeout(wanted) = self.setting else {
            return;
        };
        let patient = now.duration_since(self.begun) < PATIENCE;
        let Some(path) = best(Path::new("/sys/class/watchdog"), patient) else {
            if !patient && !self.softdog_asked {
                self.softdog_asked = true;
                load_softdog();
            }
            return;
        };
        let options = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(&path);
        match options {
            Ok(device) => {
                self.take(device, wanted);
                crate::info!(
                    "watchdog {} resets after {} s",
                    path.display(),
                    self.timeout.as_secs()
                );
            }
            Err(cause) => error::settle(&Error::at(What::Watchdog, path.display())(cause)),
        }
    }

    /// Arms a device and keeps it, with the timeout that it really took.
    fn take(&mut self, device: File, wanted: Duration) {
        let seconds = i32::try_from(wanted.as_secs()).unwrap_or(i32::MAX);
        let taken = sys::watchdog::set_timeout(&device, seconds).unwrap_or_else(|cause| {
            crate::warning!("{}: it keeps its own timeout: {cause}", What::Watchdog);
            sys::watchdog::timeout(&device).unwrap_or(seconds)
        });
        if let Err(cause) = sys::watchdog::keep_alive(&device) {
            error::settle(&Error::new(What::Watchdog, cause));
        }
        let status = sys::watchdog::boot_status(&device);
        self.reset_us = status.is_ok_and(|status| status & sys::watchdog::CARD_RESET != 0);
        self.timeout = Duration::from_secs(u64::try_from(taken).unwrap_or(1).max(1));
        let device = Arc::new(device);
        if let Ok(mut armed) = ARMED.try_lock() {
            *armed = Arc::downgrade(&device);
        }
        self.device = Some(device);
    }
}

/// Loads softdog: no hardware has come.
fn load_softdog() {
    Loader::new(Path::new("/usr/lib/modules"), &CommandLine::default()).load_or_say("softdog");
}

/// The device to use: hardware first; softdog only once patience is over.
fn best(class: &Path, patient: bool) -> Option<PathBuf> {
    let mut found: Vec<(bool, String)> = std::fs::read_dir(class)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let identity =
                std::fs::read_to_string(entry.path().join("identity")).unwrap_or_default();
            Some((
                identity.trim() == SOFTDOG,
                entry.file_name().into_string().ok()?,
            ))
        })
        .collect();
    found.sort();
    let (soft, name) = found.into_iter().next()?;
    (!soft || !patient).then(|| Path::new("/dev").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_chooses_the_timeout() {
        assert_eq!(
            Setting::parse(None),
            Ok(Setting::Timeout(Duration::from_secs(30)))
        );
        assert_eq!(Setting::parse(Some("off")), Ok(Setting::Off));
        assert_eq!(
            Setting::parse(Some("12")),
            Ok(Setting::Timeout(Duration::from_secs(12)))
        );
        let error = Setting::parse(Some("0")).map_err(|error| error.why);
        assert!(error.is_err_and(|why| why.contains("5 to 3600")));
    }

    #[test]
    fn a_sudden_end_feeds_the_armed_device_and_does_not_keep_it_open() {
        let mut watchdog = Watchdog::none();
        // No watchdog, so none of its calls works; what is told is who holds it.
        watchdog.take(tempfile::tempfile().unwrap(), DEFAULT_TIMEOUT);
        let number = watchdog.for_exec();
        assert_eq!(Watchdog::armed().for_exec(), number);
        watchdog.finish(false);
        assert!(Watchdog::armed().device.is_none());
    }

    #[test]
    fn hardware_is_taken_at_once_and_softdog_after_patience() {
        let class = tempfile::tempdir().unwrap();
        assert_eq!(best(class.path(), false), None);
        for (name, identity) in [
            ("watchdog0", "Software Watchdog\n"),
            ("watchdog1", "i6300ESB timer\n"),
        ] {
            std::fs::create_dir(class.path().join(name)).unwrap();
            std::fs::write(class.path().join(name).join("identity"), identity).unwrap();
        }
        assert_eq!(
            best(class.path(), true),
            Some(PathBuf::from("/dev/watchdog1"))
        );
        std::fs::remove_dir_all(class.path().join("watchdog1")).unwrap();
        assert_eq!(best(class.path(), true), None);
        assert_eq!(
            best(class.path(), false),
            Some(PathBuf::from("/dev/watchdog0"))
        );
    }
}
