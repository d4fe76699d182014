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
}

/// Where standard input comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// `/dev/null`.
    #[default]
    Null,
    /// A terminal.
    Tty(String),
    /// A file, read.
    File(String),
    /// A handed-over descriptor.
    Fd(FdSlot),
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
        if let Input::Tty(path) | Input::File(path) = &self.input {
            absolute("stdio.input", path)?;
        }
        for (field, output) in [("stdio.output", &self.output), ("stdio.error", &self.error)] {
            if let Output::Tty(path) | Output::File { path, .. } = output {
                absolute(field, path)?;
            }
        }
        Ok(())
    }
}
