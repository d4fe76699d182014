//! The commands, one file each.

mod bench;
mod build;
mod cache;
mod completions;
mod config;
mod console;
mod daemon;
mod doctor;
mod down;
mod fuzz;
mod kernel;
mod lock;
mod logs;
mod measure;
mod net;
mod ps;
mod reboot;
mod restart;
mod run;
mod status;
mod test;
mod unit;
mod up;

use clap::{Parser, Subcommand};

use crate::exit::Error;
use crate::output::Output;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong command line, 3 this machine lacks something, \
4 no such cluster or not running, 5 not ready in time. \
run and wait end with the exit code of the program on the node.";

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
    Up(up::Args),
    Status(status::Args),
    Ps(ps::Args),
    Logs(logs::Args),
    Restart(restart::Args),
    Config(config::Args),
    Net(net::Args),
    Run(run::Args),
    Wait(run::WaitArgs),
    Console(console::Args),
    Reboot(reboot::Args),
    Down(down::Args),
    Build(build::Args),
    Lock(lock::Args),
    Cache(cache::Args),
    Kernel(kernel::Args),
    Unit(unit::Args),
    Test(test::Args),
    Fuzz(fuzz::Args),
    Bench(bench::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Measure(measure::Args),
    #[command(hide = true)]
    Daemon(daemon::Args),
}

/// Does what the command line says.
pub(crate) fn run(cli: &Cli, output: &Output) -> Result<(), Error> {
    match &cli.command {
        Command::Up(args) => up::run(args, output),
        Command::Status(args) => status::run(args, output),
        Command::Ps(args) => ps::run(args, output),
        Command::Logs(args) => logs::run(args, output),
        Command::Restart(args) => restart::run(args, output),
        Command::Config(args) => config::run(args, output),
        Command::Net(args) => net::run(args, output),
        Command::Run(args) => run::run(args, output),
        Command::Wait(args) => run::wait(args, output),
        Command::Console(args) => console::run(args, output),
        Command::Reboot(args) => reboot::run(args, output),
        Command::Down(args) => down::run(args, output),
        Command::Build(args) => build::run(args, output),
        Command::Lock(args) => lock::run(args, output),
        Command::Cache(args) => cache::run(args, output),
        Command::Kernel(args) => kernel::run(args, output),
        Command::Unit(args) => unit::run(args, output),
        Command::Test(args) => test::run(args, output),
        Command::Fuzz(args) => fuzz::run(args, output),
        Command::Doctor(args) => doctor::run(args, output),
        Command::Bench(args) => bench::run(args, output),
        Command::Measure(args) => measure::run(args),
        Command::Daemon(args) => daemon::run(args),
        Command::Completions(args) => completions::run(args),
    }
}
