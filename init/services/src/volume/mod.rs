//! What a node keeps: the state partition, its file system, the node id, and which image boots.
//!
//! `volume setup` runs once at boot, before any unit, and PID 1 waits for it. It touches only the disk that holds the
//! booted root, never formats what is not blank, and says what it refuses and what to do. Without such a disk, or with
//! `volume ephemeral`, state lives in memory until the next boot.
//!
//! `volume bless` calls the booted image good, by taking the boot counter off its file name.
//!
//! The partition begins [`spec_layout::disk::LUKS_HEADER_BYTES`] after the free space does. That gap is where a LUKS2
//! header goes when state is encrypted later: the partition's start moves to the front of the gap and the file system
//! keeps its place, at the header's data offset. Until then there is no layer between file system and disk.

mod bless;
mod disk;
mod ends;
mod file_system;
mod identity;
mod layout;
mod program;
mod table;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use spec_layout::boot_report::PreviousBoot;
use spec_layout::path::{STATE, STATE_REPORT, STATE_RUNNING};

use crate::logging;

/// What went wrong, in words that say where and what to do.
type Result<T> = std::result::Result<T, String>;

/// `volume setup|ephemeral|bless`.
pub(crate) fn main(args: &[String]) -> ExitCode {
    logging::start("volume", logging::Target::Journal);
    let outcome = match args {
        [word] if word == "setup" => set_up(),
        [word] if word == "ephemeral" => ephemeral(""),
        [word] if word == "bless" => bless::bless(),
        _ => Err("usage: services volume setup|ephemeral|bless".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            log::error!(target: "bedplate", "{message}");
            ExitCode::FAILURE
        }
    }
}

/// Prefixes a cause with where it happened.
fn at<E: std::fmt::Display>(place: impl std::fmt::Display) -> impl FnOnce(E) -> String {
    move |cause| format!("{place}: {cause}")
}

/// Sets state up on the disk; if that fails, in memory, and says why to PID 1.
fn set_up() -> Result<()> {
    let problem = match on_disk() {
        Ok(true) => return Ok(()),
        Ok(false) => {
            log::info!(target: "bedplate", "the root is on no disk: state lives in memory until the next boot");
            String::new()
        }
        Err(problem) => {
            // What was mounted before the failure must not be written to.
            let _ = unmount("/var", UnmountFlags::DETACH);
            let _ = unmount(STATE, UnmountFlags::DETACH);
            problem
        }
    };
    ephemeral(&problem)
}

/// Makes, grows, checks and mounts the state partition; false if the root is on no disk.
fn on_disk() -> Result<bool> {
    let Some(disk) = disk::of_the_root(Path::new("/sys"))? else {
        return Ok(false);
    };
    let partition = table::state_partition(&disk)?;
    let fresh = file_system::make_ready(&partition.node)?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    fs::create_dir_all(STATE).map_err(at(STATE))?;
    mount(&partition.node, STATE, c"ext4", flags, None).map_err(at(format!(
        "mounting {} at {STATE}",
        partition.node.display()
    )))?;
    file_system::grow(&partition.node)?;
    layout::check(Path::new(STATE))?;
    let previous = match (fresh, Path::new(STATE_RUNNING).exists()) {
        (true, _) => PreviousBoot::First,
        (false, true) => PreviousBoot::Unclean,
        (false, false) => PreviousBoot::Clean,
    };
    furnish(&partition.node.display().to_string(), previous, "")?;
    Ok(true)
}

/// State in memory: gone with the next boot.
fn ephemeral(problem: &str) -> Result<()> {
    fs::create_dir_all(STATE).map_err(at(STATE))?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    mount("state", STATE, c"tmpfs", flags, c"mode=0755,size=50%")
        .map_err(at(format!("mounting memory at {STATE}")))?;
    layout::check(Path::new(STATE))?;
    furnish("", PreviousBoot::Unknown, problem)
}

/// What is the same on a disk and in memory, once the file system is mounted.
fn furnish(device: &str, previous: PreviousBoot, problem: &str) -> Result<()> {
    layout::write(Path::new(STATE_RUNNING), "")?;
    let var = Path::new(STATE).join("var");
    layout::folder(&var)?;
    mount_bind(&var, "/var").map_err(at("binding /state/var to /var"))?;
    identity::settle(device.is_empty())?;
    let report = format!(
        "device={device}\nprevious_boot={previous}\nproblem={}\n",
        problem.replace('\n', " ")
    );
    layout::write(Path::new(STATE_REPORT), &report)
}
