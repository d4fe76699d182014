#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub)]

// A part of a program, which no crate exports.
#[path = "../../init/services/src/resolver/wire/mod.rs"]
mod wire;

#[path = "../inputs/dns.rs"]
mod dns;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dns::run(bytes));
