//! `bedplate unit`: what PID 1 makes of unit files.

mod directives;
pub(crate) mod source;
mod verify;

use crate::exit::Error;
use crate::output::Output;

/// Look at unit files
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Verify(verify::Args),
    Directives(directives::Args),
}

/// Does it.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    match &args.action {
        Action::Verify(args) => verify::run(args, output),
        Action::Directives(args) => directives::run(args, output),
    }
}
