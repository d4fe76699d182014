//! The datacenter components that PID 1 starts, one multi-call program: `cluster NAME [ARG...]`.
//!
//! - `master`: gives etcd its keys and its members, lets nodes join ([`master`]).
//! - `etcd-guard`: looks at etcd's data before each start of etcd and after each end ([`guard`]).

use std::process::ExitCode;

mod data;
mod guard;
mod logging;
mod master;
mod notify;

/// A component: its name and its entry. One row to add one.
type Entry = (&'static str, fn(&[String]) -> ExitCode);

const COMPONENTS: &[Entry] = &[("etcd-guard", guard::main), ("master", master::main)];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let name = args.get(1).map_or("", String::as_str);
    match COMPONENTS.iter().find(|(known, _)| *known == name) {
        Some((_, entry)) => entry(args.get(2..).unwrap_or_default()),
        None => {
            let names: Vec<&str> = COMPONENTS.iter().map(|(name, _)| *name).collect();
            eprintln!("unknown component {name:?}; one of: {}", names.join(", "));
            ExitCode::from(2)
        }
    }
}
