//! Exit codes, and the one error type that carries them.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed; the message says where and what to do |
//! | 2 | the command line is wrong |
//! | 3 | this machine lacks something (`bedplate doctor` says what) |
//! | 4 | there is no such cluster, or it is not running |
//! | 5 | not ready in the time given |
//!
//! `run` and `wait` end with the exit code of the program on the node.

use std::fmt;

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) enum Error {
    /// It was tried and failed.
    Failed(String),
    /// The command line asks for something that makes no sense.
    Usage(String),
    /// This machine lacks something.
    Missing(String),
    /// No such cluster, or it does not run.
    NotRunning(String),
    /// Time ran out.
    NotReady(String),
    /// A program that was run on a node has not ended well.
    Program {
        /// How it has.
        message: String,
        /// Its exit code, or 128 and the number of the signal that killed it.
        code: u8,
    },
}

impl Error {
    /// A failure with any message.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }

    /// The exit code of the process.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Missing(_) => 3,
            Self::NotRunning(_) => 4,
            Self::NotReady(_) => 5,
            Self::Program { code, .. } => *code,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message)
            | Self::Usage(message)
            | Self::Missing(message)
            | Self::NotRunning(message)
            | Self::NotReady(message)
            | Self::Program { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

impl From<image::Error> for Error {
    fn from(error: image::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Adds "what was being done" to an I/O error.
pub(crate) trait Context<T> {
    /// Puts `what` before the error's own message.
    fn context(self, what: impl fmt::Display) -> Result<T, Error>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T, Error> {
        self.map_err(|error| Error::Failed(format!("{what}: {error}")))
    }
}
