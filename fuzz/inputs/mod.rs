//! What the fuzzers feed to `spec-unit`, one file per kind of hostile input, and what must hold of whatever comes out.
//!
//! Each is a function of bytes that panics where something is wrong. `fuzz/targets` gives them to libFuzzer;
//! `spec/unit/tests/fuzz.rs` replays `fuzz/regressions` through them in the ordinary tests.

#![allow(dead_code, unreachable_pub)]

pub mod command_line;
pub mod control;
pub mod node;
pub mod notify;
pub mod specifier;
pub mod unit_file;

/// What takes an input.
pub type Run = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Run); 5] = [
    ("command_line", command_line::run),
    ("control", control::run),
    ("notify", notify::run),
    ("specifier", specifier::run),
    ("unit_file", unit_file::run),
];
