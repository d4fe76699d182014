//! The commands, one file each.

mod build;
mod completions;
mod doctor;

use clap::{Parser, Subcommand};

use crate::exit::Error;
use crate::output::Output;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong command line, 3 this machine lacks something, \
4 no such cluster or not running, 5 not ready in time, 130 interrupted.";

/// Build immutable node images and run clusters of them.
#[derive(Debug, Parser)]
#[command(name = "bedplate", version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print results as JSON on stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Doctor(doctor::Args),
    Build(build::Args),
    Completions(completions::Args),
}

/// Does what the command line says.
pub(crate) fn run(cli: &Cli, output: &Output) -> Result<(), Error> {
    match &cli.command {
        Command::Doctor(args) => doctor::run(args, output),
        Command::Build(args) => build::run(args, output),
        Command::Completions(args) => completions::run(args),
    }
}
