//! What can go wrong in PID 1, and the only place that decides what follows from it.
//!
//! Every failure names [`What`] did not work and why. [`What::consequence`] is the whole decision: `Degraded` is said
//! and boot goes on, so that the node can still be asked what is wrong; `Fatal` is said and the machine reboots, so
//! that the boot counter can try another image. Nothing else in this program chooses between the two.

use std::fmt;
use std::time::{Duration, Instant};

use nix::sys::reboot::RebootMode;

use crate::shutdown::step::{Ended, Steps};
use crate::watchdog::Watchdog;

/// What did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Mounting /dev, /proc, /sys, /run and their like.
    ApiMounts,
    /// Opening the console, or silencing Ctrl-Alt-Del.
    Console,
    /// Reading the kernel command line.
    CommandLine,
    /// Loading kernel modules.
    Modules,
    /// Finding the partitions of the root.
    RootDevice,
    /// Setting up dm-verity over the root.
    Verity,
    /// Mounting the verified root.
    RootMount,
    /// Entering the root and executing PID 1 there.
    SwitchRoot,
    /// Kernel settings below /proc/sys.
    Kernel,
    /// Bringing the loopback link up.
    Loopback,
    /// The writable layer over /etc.
    Etc,
    /// The control group tree.
    Cgroups,
    /// Importing credentials from the firmware.
    Credentials,
    /// Setting the clock forward to the image's build time.
    Clock,
    /// Setting the hostname.
    Hostname,
    /// Lines of tmpfiles.d.
    Tmpfiles,
    /// Making, checking or mounting the state partition.
    State,
    /// Reading or binding the node id.
    NodeId,
    /// Finding and applying the machine config.
    Config,
    /// Writing the boot report.
    BootReport,
    /// Opening or feeding the hardware watchdog.
    Watchdog,
    /// Loading or starting units.
    Units,
    /// Sockets that other programs reach PID 1 by.
    Sockets,
    /// Waiting for events: without it nothing can be supervised.
    EventLoop,
    /// Leaving file systems clean at shutdown.
    Shutdown,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// Say it and go on.
    Degraded,
    /// Say it and reboot.
    Fatal,
}

impl What {
    /// The decision, for every failure there is.
    pub(crate) fn consequence(self) -> Consequence {
        match self {
            // Nothing of the node works without these, or it would run what was not verified.
            What::ApiMounts
            | What::RootDevice
            | What::Verity
            | What::RootMount
            | What::SwitchRoot
            | What::Cgroups
            | What::EventLoop => Consequence::Fatal,
            // The node comes up and can tell what it lacks; a broken disk or config is not cured by a reboot.
            What::Console
            | What::CommandLine
            | What::Modules
            | What::Kernel
            | What::Loopback
            | What::Etc
            | What::Credentials
            | What::Clock
            | What::Hostname
            | What::Tmpfiles
            | What::State
            | What::NodeId
            | What::Config
            | What::BootReport
            | What::Watchdog
            | What::Units
            | What::Sockets
            | What::Shutdown => Consequence::Degraded,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::ApiMounts => "API file systems",
            What::Console => "console",
            What::CommandLine => "kernel command line",
            What::Modules => "kernel modules",
            What::RootDevice => "root partition",
            What::Verity => "dm-verity",
            What::RootMount => "root file system",
            What::SwitchRoot => "entering the root",
            What::Kernel => "kernel settings",
            What::Loopback => "loopback link",
            What::Etc => "/etc",
            What::Cgroups => "control groups",
            What::Credentials => "credentials",
            What::Clock => "clock",
            What::Hostname => "hostname",
            What::Tmpfiles => "tmpfiles",
            What::State => "state partition",
            What::NodeId => "node id",
            What::Config => "machine config",
            What::BootReport => "boot report",
            What::Watchdog => "watchdog",
            What::Units => "units",
            What::Sockets => "sockets",
            What::EventLoop => "event loop",
            What::Shutdown => "shutdown",
        })
    }
}

/// A failure: what did not work, and why, in words for a person at the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    /// What did not work.
    pub(crate) what: What,
    /// Why: the file or device, and what the kernel said.
    pub(crate) why: String,
}

impl Error {
    /// A failure of `what`, because of `why`.
    pub(crate) fn new(what: What, why: impl fmt::Display) -> Error {
        Error {
            what,
            why: why.to_string(),
        }
    }

    /// For `map_err`: prefixes the cause with where it happened.
    pub(crate) fn at<E: fmt::Display>(
        what: What,
        place: impl fmt::Display,
    ) -> impl FnOnce(E) -> Error {
        move |cause| Error {
            what,
            why: format!("{place}: {cause}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl std::error::Error for Error {}

/// A result of PID 1.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Acts on a failure: says it, and returns only if it is degraded.
pub(crate) fn settle(error: &Error) {
    match error.what.consequence() {
        Consequence::Degraded => crate::error!("{error}"),
        Consequence::Fatal => die(error),
    }
}

/// Time for a person to read the last words, and a brake on reboot loops.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Goes on as a new image, if there is a state to go on with. Else says the last words, writes what is not on the disks yet and reboots. A disk that hangs does not keep the machine.
pub(crate) fn die(error: &dyn fmt::Display) -> ! {
    crate::reexec::after_crash(error);
    crate::emergency!("{error}; rebooting");
    let mut watchdog = Watchdog::armed();
    let synced = Steps::new(&mut watchdog).take(|| {
        rustix::fs::sync();
        Ok(())
    });
    if matches!(synced, Ended::Stuck) {
        crate::error!("not everything is written: a disk hangs");
    }
    let said = Instant::now();
    while said.elapsed() < LAST_WORDS {
        watchdog.feed();
        std::thread::sleep(Duration::from_millis(100));
    }
    reboot_now()
}

/// Reboots; if even that fails, exits, which makes the kernel panic and `panic=` reboot.
fn reboot_now() -> ! {
    let _ = nix::sys::reboot::reboot(RebootMode::RB_AUTOBOOT);
    std::process::exit(1)
}

/// A panic of PID 1 would be a kernel panic: the hook says where, and PID 1 executes itself anew or
/// reboots. In a child it only says it.
pub(crate) fn set_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        crate::emergency!("{panic}");
        if std::process::id() == 1 {
            die(&"this is a fault in PID 1");
        }
        std::process::exit(70);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_never_runs_an_unverified_root_but_runs_without_its_disk() {
        assert_eq!(What::Verity.consequence(), Consequence::Fatal);
        assert_eq!(What::State.consequence(), Consequence::Degraded);
        assert_eq!(What::Config.consequence(), Consequence::Degraded);
    }

    #[test]
    fn an_error_says_what_where_and_why() {
        let error = Error::at(What::Etc, "/etc")("no space left");
        assert_eq!(error.to_string(), "/etc: /etc: no space left");
        assert_eq!(
            Error::new(What::Verity, "no roothash=").to_string(),
            "dm-verity: no roothash="
        );
    }
}
