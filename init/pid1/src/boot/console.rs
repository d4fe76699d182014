//! The first moments of either stage: words can be said, nothing reaches the terminal by accident, and
//! Ctrl-Alt-Del asks PID 1 instead of resetting the machine.

use std::io::Read as _;

use nix::sys::reboot::set_cad_enabled;
use spec_layout::command_line::{self, CommandLine};

use crate::error::{self, Error, What};
use crate::log::{self, Level};

/// Opens the log as the command line wants it, and gives the command line. Needs /proc, /sys and /dev.
pub(crate) fn begin() -> CommandLine {
    let (line, problem) = match read_command_line() {
        Ok(text) => (CommandLine::parse(&text), None),
        Err(cause) => (CommandLine::default(), Some(cause)),
    };
    let wanted = line.value(command_line::LOG);
    log::open(wanted.and_then(Level::parse).unwrap_or(Level::Info));
    if let Some(cause) = problem {
        error::settle(&Error::at(What::CommandLine, "/proc/cmdline")(cause));
    }
    if let Some(word) = wanted.filter(|word| Level::parse(word).is_none()) {
        crate::warning!(
            "{}={word}: write debug, info, notice, warning or error",
            command_line::LOG
        );
    }
    if let Err(cause) = null_stdio() {
        error::settle(&Error::at(What::Console, "/dev/null")(cause));
    }
    if let Err(cause) = set_cad_enabled(false) {
        error::settle(&Error::at(What::Console, "Ctrl-Alt-Del")(cause));
    }
    line
}

fn read_command_line() -> std::io::Result<String> {
    let mut text = String::new();
    let limit = command_line::BYTES_MAX as u64;
    std::fs::File::open("/proc/cmdline")?
        .take(limit)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// PID 1 reads no terminal, and what it says goes through [`log`]: its standard streams are /dev/null.
fn null_stdio() -> rustix::io::Result<()> {
    use rustix::fs::{Mode, OFlags, open};
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)
}
