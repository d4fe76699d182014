//! `bedplate measure`: the measuring process of `bench`. Not for people.

use std::ffi::OsString;

use crate::exit::Error;
use crate::measure;

/// Run a command and print its cost as JSON.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The command.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    measure::inner(&args.command)
}
