//! The initramfs: from the kernel's hand-over to the verified root.
//!
//! The order is [`STEPS`]. Nothing is configured here but by the kernel command line; nothing is mounted that was not
//! verified. A step that fails reboots the machine if [`crate::error`] says so, and the boot counter goes on from
//! there.

pub(crate) mod disk;
pub(crate) mod modules;
pub(crate) mod mount;
mod ram;
mod switch;
pub(crate) mod verity;

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use spec_layout::command_line::{self, CommandLine};
use spec_layout::path::{INIT, SERVICES};
use spec_layout::verity::RootHash;

use crate::error::{self, Error, Result, What};
use crate::sys::{self, clone::Child};
use crate::watchdog::{Setting, Watchdog};

/// Where the root is mounted before it is entered.
const SYSROOT: &str = "/sysroot";

/// How long the modules that every boot needs may take.
const LOADING_DEADLINE: Duration = Duration::from_secs(30);
const SECOND: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// The way through the initramfs.
struct Early {
    command_line: CommandLine,
    watchdog: Watchdog,
    modules: modules::Loader,
    /// Loads what every boot needs, while this process looks for the root.
    loading: Option<Child>,
    hash: Option<RootHash>,
    /// Block devices of the root file system and of its tree.
    source: Option<Source>,
    /// The dm-verity device over both.
    verified: Option<PathBuf>,
}

/// Where the root lies.
pub(crate) struct Source {
    /// Device with the file system.
    pub(crate) root: PathBuf,
    /// Device with superblock and hash tree.
    pub(crate) tree: PathBuf,
}

type Step = fn(&mut Early) -> Result<()>;

/// What is done, in order.
const STEPS: &[Step] = &[
    start_loading,
    read_root_hash,
    arm_watchdog,
    find_root,
    finish_loading,
    verify_root,
    mount_root,
];

/// Whether this is the initramfs and not the root.
pub(crate) fn is_here() -> bool {
    const RAMFS: i64 = 0x8584_58f6;
    const TMPFS: i64 = 0x0102_1994;
    let in_memory = rustix::fs::statfs("/").is_ok_and(|fs| matches!(fs.f_type, RAMFS | TMPFS));
    in_memory && Path::new("/etc/initrd-release").exists()
}

/// Goes through the initramfs and executes PID 1 of the root; returns only if that failed.
pub(crate) fn run(command_line: CommandLine) -> Error {
    let mut early = Early {
        modules: modules::Loader::new(Path::new("/lib/modules"), &command_line),
        watchdog: Watchdog::none(),
        loading: None,
        command_line,
        hash: None,
        source: None,
        verified: None,
    };
    for step in STEPS {
        if let Err(error) = step(&mut early) {
            error::settle(&error);
        }
    }
    let init = match init(&early.command_line) {
        Ok(init) => init,
        Err(error) => return error,
    };
    switch::enter(Path::new(SYSROOT), init, early.watchdog.for_exec())
}

/// The program of the root that becomes PID 1. Every word of the command line is as true as `roothash=`: who may write
/// one may write the other.
fn init(command_line: &CommandLine) -> Result<&Path> {
    let init = command_line.value(command_line::INIT).unwrap_or(INIT);
    if init.starts_with('/') {
        return Ok(Path::new(init));
    }
    let why = format!(
        "{}={init}: write the whole path of a program of the root",
        command_line::INIT
    );
    Err(Error::new(What::SwitchRoot, why))
}

/// The modules that the builder found every boot to need. Unpacking and checking them takes as long as finding the
/// disk, so a child does it meanwhile.
fn start_loading(early: &mut Early) -> Result<()> {
    early.modules.read_index()?;
    let list = std::fs::read_to_string("/lib/bedplate/modules").unwrap_or_default();
    let mut load = || {
        early.modules.load_processors_hash();
        list.split_whitespace()
            .for_each(|module| early.modules.load_or_say(module))
    };
    let child = sys::clone::worker(|| {
        load();
        0
    });
    match child {
        Ok(child) => early.loading = Some(child),
        Err(cause) => {
            crate::warning!("no child to load modules: {cause}");
            load();
        }
    }
    Ok(())
}

/// Waits for them: the root cannot be mounted before. If they hang, what comes next does without, and fails by itself.
fn finish_loading(early: &mut Early) -> Result<()> {
    let Some(child) = early.loading.take() else {
        return Ok(());
    };
    let error = |why: String| Error::new(What::Modules, format!("what every boot needs: {why}"));
    let begun = Instant::now();
    while begun.elapsed() < LOADING_DEADLINE {
        match poll(
            &mut [PollFd::new(&child.pidfd, PollFlags::IN)],
            Some(&SECOND),
        ) {
            Ok(0) | Err(Errno::INTR) => early.watchdog.feed(),
            Err(cause) => return Err(error(cause.to_string())),
            Ok(_) => {
                let status = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
                return match status {
                    Ok(Some(status)) if status.exit_status() == Some(0) => Ok(()),
                    other => Err(error(format!("their child ended: {other:?}"))),
                };
            }
        }
    }
    Err(error(format!(
        "not loaded after {} s",
        LOADING_DEADLINE.as_secs()
    )))
}

fn read_root_hash(early: &mut Early) -> Result<()> {
    let text = early.command_line.value(command_line::ROOT_HASH);
    let text =
        text.ok_or_else(|| Error::new(What::Verity, "the kernel command line has no roothash="))?;
    early.hash = Some(RootHash::parse(text).map_err(Error::at(What::Verity, "roothash="))?);
    Ok(())
}

/// From here on the hardware resets a boot that hangs; PID 1 of the root takes the watchdog over as it runs.
fn arm_watchdog(early: &mut Early) -> Result<()> {
    early.modules.load_watchdog_drivers();
    let setting = Setting::parse(early.command_line.value(command_line::WATCHDOG))?;
    early.watchdog = Watchdog::open(setting, None);
    Ok(())
}

fn find_root(early: &mut Early) -> Result<()> {
    let hash = early
        .hash
        .ok_or_else(|| Error::new(What::RootDevice, "no root hash"))?;
    let source = match early.command_line.value(command_line::ROOT) {
        Some("ram") => ram::attach(&mut early.modules)?,
        Some(other) => {
            let why = format!("{}={other}: only \"ram\" is known", command_line::ROOT);
            return Err(Error::new(What::RootDevice, why));
        }
        None => disk::wait_for_root(&hash, &mut early.modules, &mut early.watchdog)?,
    };
    crate::info!("root on {}", source.root.display());
    early.source = Some(source);
    Ok(())
}

fn verify_root(early: &mut Early) -> Result<()> {
    let (Some(hash), Some(source)) = (&early.hash, &early.source) else {
        return Err(Error::new(What::Verity, "no root to verify"));
    };
    early.verified = Some(verity::open(hash, source)?);
    Ok(())
}

fn mount_root(early: &mut Early) -> Result<()> {
    let Some(device) = &early.verified else {
        return Err(Error::new(What::RootMount, "no verified root"));
    };
    mount::root(device, Path::new(SYSROOT))?;
    // The kernel fetches and checks them on another processor while this one goes on.
    for program in [INIT, SERVICES] {
        let path = Path::new(SYSROOT).join(program.trim_start_matches('/'));
        if let Ok(file) = std::fs::File::open(path) {
            // If that fails they are fetched when they are needed.
            let _ = fadvise(&file, 0, None, Advice::WillNeed);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_s_pid_1_is_ours_unless_the_command_line_names_another() {
        let line = |text: &str| CommandLine::parse(text);
        assert_eq!(init(&line("quiet")).unwrap(), Path::new(INIT));
        let other = line("init=/usr/lib/systemd/systemd quiet");
        assert_eq!(init(&other).unwrap(), Path::new("/usr/lib/systemd/systemd"));
        let error = init(&line("init=systemd")).unwrap_err().to_string();
        assert!(
            error.contains("init=systemd: write the whole path"),
            "{error}"
        );
    }
}
