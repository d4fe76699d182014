#![no_main]

#[path = "../inputs/machine_config.rs"]
mod machine_config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| machine_config::run(bytes));
