//! The journal of a node: what every unit, the kernel and PID 1 say, in one bounded store.
//!
//! Sources are stdout streams, native and syslog datagrams (systemd-journald.service(8)) and /dev/kmsg. Principles:
//!
//! - Nobody waits for the journal: the loop that reads the sockets touches no disk ([`writer`]) and no reader
//!   ([`serve`]), reads a bounded amount from each source in turn, and drops over its bounds, saying how much.
//! - Who said it is what the kernel vouches for, never what the sender claims.
//! - A power cut tears at most the tail off; a restart loses nothing that was taken in, and PID 1 keeps the streams of
//!   services meanwhile ([`kept`]).
//!
//! Entries go to /var/log/bedplate on a node with a disk and to /run/log/bedplate otherwise.

mod clock;
mod connection;
mod entry;
mod event_loop;
mod intake;
mod kept;
mod kmsg;
mod native;
mod rate;
mod segment;
mod serve;
mod source;
mod store;
mod stream;
mod syslog;
mod writer;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::fs::{StatFs, statfs};
use spec_layout::path::{JOURNAL_PERSISTENT, JOURNAL_VOLATILE};

use clock::Clock;
use event_loop::EventLoop;
use intake::Intake;
use store::{Limits, Store};
use writer::{Shared, Writer};

/// The journal's own unit.
const UNIT: &str = "bedplate-journal.service";
/// The journal's own identifier.
const IDENTIFIER: &str = "bedplate-journal";

const MIB: u64 = 1 << 20;

/// Runs the journal until SIGTERM.
pub(crate) fn main(_args: &[String]) -> ExitCode {
    crate::logging::start("journal", crate::logging::Target::Stderr);
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let kept = kept::handed();
    // Before any thread, so that every thread inherits the mask.
    let signals = crate::signals::open()?;
    let clock = Clock::new();
    let shared = Arc::new(Shared::default());
    let (volatile, _) = open_store(JOURNAL_VOLATILE, 16 * MIB)?;
    let (persistent, torn) = match open_persistent() {
        Some((store, torn)) => (Some(store), torn),
        None => (None, 0),
    };
    let place = if persistent.is_some() {
        JOURNAL_PERSISTENT
    } else {
        JOURNAL_VOLATILE
    };

    let mut intake = Intake::new(clock, shared.clone());
    let mut events = EventLoop::bind(signals)?;
    events.resume(kept);
    if torn > 0 {
        intake.notice(
            5,
            &format!("the last boot ended within a record: {torn} bytes at the end were cut off"),
        );
    }
    let writer = Writer::new(persistent, volatile, clock, shared.clone());
    let writer = std::thread::Builder::new()
        .name("writer".into())
        .spawn(move || writer.run())?;
    let (listener, readers) = (events.query_listener()?, shared.clone());
    std::thread::Builder::new()
        .name("serve".into())
        .spawn(move || serve::run(listener, readers))?;

    crate::notify::ready(&format!("entries go to {place}"));
    let result = events.run(&mut intake);
    crate::notify::stopping();
    shared.close();
    if writer.join().is_err() {
        log::error!("the writer ended by a panic");
    }
    result
}

/// The store on the state partition; none where /var is memory too.
fn open_persistent() -> Option<(Store, u64)> {
    let folder = Path::new(JOURNAL_PERSISTENT);
    let on_disk = statfs(folder).ok().is_some_and(|fs| !is_memory(&fs));
    if !on_disk {
        return None;
    }
    open_store(JOURNAL_PERSISTENT, 256 * MIB)
        .inspect_err(|error| {
            log::error!("{JOURNAL_PERSISTENT}: {error}; entries stay in {JOURNAL_VOLATILE}")
        })
        .ok()
}

/// Opens a store that takes at most `most_bytes` and at most a tenth of its file system.
fn open_store(folder: &str, most_bytes: u64) -> io::Result<(Store, u64)> {
    std::fs::create_dir_all(folder).map_err(|error| named(folder, error))?;
    let fs = statfs(folder)?;
    let tenth = fs.f_blocks.saturating_mul(fs.f_bsize.unsigned_abs()) / 10;
    let total_bytes = tenth.clamp(MIB, most_bytes);
    let limits = Limits {
        total_bytes,
        segment_bytes: total_bytes / 16,
    };
    let mut id = [0; 8];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut id)?;
    Store::open(Path::new(folder), limits, u64::from_le_bytes(id))
        .map_err(|error| named(folder, error))
}

fn is_memory(fs: &StatFs) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    matches!(fs.f_type, TMPFS | RAMFS)
}

/// An error with the file it is about.
fn named(path: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}"))
}
