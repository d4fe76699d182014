//! `bedplate`, the one command for people.
//!
//! `main` only parses, dispatches and turns an error into a message and an exit code. One file per command
//! stands under `command/`; what several of them share has its own noun: [`machine`] (what this machine must
//! have), [`programs`] (our static programs), [`workspace`] (the checkout), [`output`] and [`progress`].

mod command;
mod exit;
mod machine;
mod output;
mod programs;
mod progress;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = command::Cli::parse();
    let output = output::Output::new(cli.json);
    match command::run(&cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.code())
        }
    }
}
