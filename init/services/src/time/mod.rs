//! The node's clock: stepped once at boot, slewed after, by the time servers of the machine config.
//!
//! A client of NTP version 4 (RFC 5905) without the parts that only a server needs: each server's answers are filtered
//! ([`source`]), the servers that agree are chosen ([`choice`]), and what they say is done to the kernel's clock
//! ([`discipline`]). All of that is pure; [`service`] has the sockets and the clock.
//!
//! The clock is never set before the image's build time. `time-sync.target` is reached once the clock agrees with the
//! servers: `time wait` ends then, and whoever needs true time is ordered after that target.

mod choice;
mod config;
mod discipline;
mod packet;
mod service;
mod source;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use spec_layout::path::{TIME_CONFIG, TIME_SYNCHRONISED};

use crate::logging::{self, Target};

/// How often the flag is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// `time` keeps the clock until SIGTERM; `time wait` ends when it agrees with a server.
pub(crate) fn main(args: &[String]) -> ExitCode {
    logging::start("time", Target::Journal);
    match args.first().map(String::as_str) {
        None => keep(),
        Some("wait") => wait(),
        Some(other) => {
            eprintln!("time {other:?} is not known; one of: time, time wait");
            ExitCode::from(2)
        }
    }
}

/// Ends once the clock agrees with a server, or there is none to agree with.
fn wait() -> ExitCode {
    loop {
        if Path::new(TIME_SYNCHRONISED).exists() {
            return ExitCode::SUCCESS;
        }
        let time = config::read(Path::new(TIME_CONFIG));
        if time.is_ok_and(|time| time.servers.is_empty()) {
            log::warn!("no time servers: the clock is the machine's own");
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn keep() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime.and_then(|runtime| runtime.block_on(service::run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
