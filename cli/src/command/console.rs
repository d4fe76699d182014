//! `bedplate console`: the serial console of a node.

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::exit::{Context, Error};
use crate::node::{Running, Which};
use crate::output::{self, Output};

/// Ctrl-] leaves, as in telnet.
const LEAVE: u8 = 0x1d;
/// Lines of the past shown first.
const PAST: usize = 20;

/// Attach to the serial console of a node; Ctrl-] leaves.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node.
    node: String,
    #[command(flatten)]
    which: Which,
}

/// Carries bytes both ways until Ctrl-], the end of input or the end of the machine.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let running = Running::find(&args.which)?;
    let node = running.node(&args.node)?;
    let mut past = qemu_tests::serial::tail(&node.serial_log, PAST);
    past.push('\n');
    output::print(&past);
    let stream = qemu_tests::socket::connect(&node.console).map_err(Error::failed)?;
    let writer = stream
        .try_clone()
        .context("cannot use the console's socket")?;
    let _raw = if io::stdin().is_terminal() {
        output.note(&format!("console of {}; Ctrl-] leaves", node.name));
        Some(Raw::enter()?)
    } else {
        None
    };
    thread::spawn(move || send(writer));
    receive(stream)
}

fn receive(mut stream: UnixStream) -> Result<(), Error> {
    let mut buffer = [0; 4096];
    let mut stdout = io::stdout().lock();
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                let written = stdout
                    .write_all(&buffer[..count])
                    .and_then(|()| stdout.flush());
                if written.is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Failed(format!("the console is gone: {error}"))),
        }
    }
}

fn send(mut stream: UnixStream) {
    let mut stdin = io::stdin().lock();
    let mut buffer = [0; 256];
    while let Ok(count @ 1..) = stdin.read(&mut buffer) {
        let typed = &buffer[..count];
        let end = typed.iter().position(|byte| *byte == LEAVE);
        let _ = stream.write_all(&typed[..end.unwrap_or(count)]);
        if end.is_some() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// The terminal without line discipline, until dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Result<Self, Error> {
        let before = tcgetattr(io::stdin()).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).context("cannot set the terminal")?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
