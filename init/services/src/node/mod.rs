//! The node: its machine config, its API, and whether its boot is complete.
//!
//! - `node config` runs once at boot, before any unit: finds the machine config, checks it, and gives each
//!   program the part it needs. It never fails: a node without a config boots and says so.
//! - `node keep-config` has another config taken up while the node runs.
//! - `node` serves the node API over mutual TLS.
//! - `node boot-check` ends when this boot is good by local facts alone.

mod api;
mod boot_check;
mod config;
mod facts;
mod identity;
mod metrics;
mod platform;
mod server;

use std::process::ExitCode;

use crate::logging::{self, Target};

/// Runs one of them.
pub(crate) fn main(args: &[String]) -> ExitCode {
    match args.first().map(String::as_str) {
        None => {
            logging::start("node", Target::Journal);
            server::run()
        }
        Some("config") => {
            logging::start("node-config", Target::Stderr);
            config::boot()
        }
        Some("keep-config") => {
            logging::start("config", Target::Journal);
            config::keep()
        }
        Some("boot-check") => {
            logging::start("boot-check", Target::Journal);
            boot_check::run()
        }
        Some(other) => {
            eprintln!(
                "node {other:?} is not known; one of: node, node config, node keep-config, node boot-check"
            );
            ExitCode::from(2)
        }
    }
}

/// A runtime of one thread, if there can be one.
fn runtime() -> Option<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .inspect_err(|error| log::error!("cannot start: {error}"))
        .ok()
}
