//! `bedplate`, the one command for people.
//!
//! `main` only parses, dispatches and turns an error into a message and an exit code. One file per command
//! stands under `command/`; what several of them share has its own noun: [`machine`] (what this machine must
//! have), [`programs`] (our static programs), [`images`], [`daemon`] (which owns a cluster's machines) with its
//! [`cluster_folder`], [`node`] (the API of one), [`view`], [`suite`] (the test programs), [`output`], [`progress`], [`workspace`].

mod cluster_folder;
mod command;
mod daemon;
mod exit;
mod images;
mod machine;
mod measure;
mod node;
mod output;
mod programs;
mod progress;
mod suite;
mod view;
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
