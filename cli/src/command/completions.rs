//! `bedplate completions`: the shell's completions on stdout.

use clap::CommandFactory;

use crate::exit::Error;
use crate::output;

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

/// Prints them.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let mut text = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut super::Cli::command(),
        "bedplate",
        &mut text,
    );
    output::print(&String::from_utf8_lossy(&text));
    Ok(())
}
