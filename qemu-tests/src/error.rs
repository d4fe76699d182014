//! What can go wrong, as messages for a person.

use std::{io, path::Path, time::Duration};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation of the system failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on which file.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A deadline passed.
    #[error("waited {seconds} s for {what}{}", seen(.last))]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What was seen last, if that helps.
        last: String,
    },
    /// QEMU, a guest or a tool did not do what it should.
    #[error("{0}")]
    Failed(String),
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Refused(String),
}

fn seen(last: &str) -> String {
    if last.is_empty() {
        String::new()
    } else {
        format!("; last seen: {last}")
    }
}

impl Error {
    /// An I/O error on a file.
    pub fn io(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
        let what = format!("{verb} {}", path.display());
        move |source| Error::Io { what, source }
    }

    /// An I/O error on something without a path.
    pub fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    /// A deadline that passed.
    pub fn timeout(what: impl Into<String>, after: Duration) -> Error {
        Error::Timeout {
            what: what.into(),
            seconds: after.as_secs(),
            last: String::new(),
        }
    }
}
