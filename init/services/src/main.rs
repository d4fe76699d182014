//! What runs beside PID 1 on every node, one multi-call program: `services NAME [ARG...]`.
//!
//! `run` and `collect` are for root: they run a program as a transient unit of PID 1's.
//! Called as `modprobe` (a link) it loads the module the kernel asks for.

use std::process::ExitCode;

mod device;
mod journal;
mod logging;
mod network;
mod node;
mod notify;
mod resolver;
mod signals;
mod sys;
mod time;
mod transient;
mod volume;

/// A service: its name and its entry. One row to add one.
type Entry = (&'static str, fn(&[String]) -> ExitCode);

const SERVICES: &[Entry] = &[
    ("collect", transient::collect),
    ("device", device::main),
    ("journal", journal::main),
    ("modprobe", device::modprobe),
    ("network", network::main),
    ("node", node::main),
    ("resolver", resolver::main),
    ("run", transient::run),
    ("time", time::main),
    ("volume", volume::main),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let called = args
        .first()
        .and_then(|path| path.rsplit('/').next())
        .unwrap_or_default();
    let (name, rest) = match SERVICES.iter().find(|(name, _)| *name == called) {
        Some((name, _)) => (*name, args.get(1..).unwrap_or_default()),
        None => (
            args.get(1).map_or("", String::as_str),
            args.get(2..).unwrap_or_default(),
        ),
    };
    match SERVICES.iter().find(|(known, _)| *known == name) {
        Some((_, entry)) => entry(rest),
        None => {
            let names: Vec<&str> = SERVICES.iter().map(|(name, _)| *name).collect();
            eprintln!("unknown service {name:?}; one of: {}", names.join(", "));
            ExitCode::from(2)
        }
    }
}
