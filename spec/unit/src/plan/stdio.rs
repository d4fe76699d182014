//! Standard streams of a child.

use serde::{Deserialize, Serialize};

use super::fd::FdSlot;
use super::{absolute, line};

/// Standard streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stdio {
    /// Standard input.
    pub input: Input,
    /// Standard output.
    pub output: Output,
    /// Standard error.
    pub error: Output,
    /// SYSLOG_IDENTIFIER of its lines.
    pub identifier: String,
    /// Priority (`facility * 8 + level`) of lines without a `<N>` prefix.
    pub priority: u8,
    /// `<N>` at the start of a line is its level.
    pub level_prefix: bool,
    /// What is done to a terminal before it is used.
    pub terminal: Option<Terminal>,
    /// The descriptor that was handed over as standard input is a terminal, which becomes the session's and the user's.
    pub session_terminal: bool,
}

/// What is done to a terminal before it is used. What it does not take is no failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Terminal {
    /// Its absolute path.
    pub path: String,
    /// Its modes are set to sane ones.
    pub reset: bool,
    /// Whoever has it open is cut off, vhangup(2).
    pub hang_up: bool,
    /// A virtual terminal is freed, any other cleared.
    pub disallocate: bool,
    /// Its lines; 0 leaves them.
    pub rows: u16,
    /// Its columns; 0 leaves them.
    pub columns: u16,
}

/// Most bytes of [`Input::Data`], as in systemd.
pub const MAX_DATA: usize = 64 << 20;

/// Where standard input comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// `/dev/null`.
    #[default]
    Null,
    /// A terminal, which becomes the session's.
    Tty {
        /// Its absolute path.
        path: String,
        /// What if it is another session's.
        taken: Taken,
    },
    /// A file, read.
    File(String),
    /// These bytes.
    Data(Vec<u8>),
    /// A handed-over descriptor.
    Fd(FdSlot),
}

/// What becomes of a child whose terminal is another session's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    /// It uses the terminal all the same, as one that is not its own.
    #[default]
    Share,
    /// It takes the terminal away from that session.
    Force,
    /// It does not run.
    Fail,
}

/// Where standard output or error goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// The same as standard input (output) or standard output (error).
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// The journal's stream; the kernel log while there is no journal.
    Journal,
    /// The kernel log.
    Kmsg,
    /// A terminal.
    Tty(String),
    /// A file, opened as said.
    File {
        /// Absolute path.
        path: String,
        /// How it is opened.
        mode: FileMode,
    },
    /// A handed-over descriptor.
    Fd(FdSlot),
}

/// How an output file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileMode {
    /// Written from its start.
    Write,
    /// Appended to.
    Append,
    /// Emptied first.
    Truncate,
}

impl Stdio {
    /// Refuses a path that is not absolute and a name of more than one line.
    pub(super) fn check(&self) -> Result<(), String> {
        line("stdio.identifier", &self.identifier)?;
        match &self.input {
            Input::Tty { path, .. } | Input::File(path) => absolute("stdio.input", path)?,
            Input::Data(bytes) if bytes.len() > MAX_DATA => {
                return Err(format!("stdio.input: more than {MAX_DATA} bytes"));
            }
            _ => {}
        }
        if self.session_terminal && !matches!(self.input, Input::Fd(_)) {
            return Err("stdio.session_terminal: hand it over as stdio.input".into());
        }
        if let Some(terminal) = &self.terminal {
            absolute("stdio.terminal", &terminal.path)?;
        }
        for (field, output) in [("stdio.output", &self.output), ("stdio.error", &self.error)] {
            if let Output::Tty(path) | Output::File { path, .. } = output {
                absolute(field, path)?;
            }
        }
        Ok(())
    }
}
