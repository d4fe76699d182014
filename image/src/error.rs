//! What stops a build, in words that say where and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{action} {}: {}", path.display(), Reason(source))]
    File {
        /// What was tried: "read", "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// An input is wrong: the message names file, line or field and what to do.
    #[error("{0}")]
    Input(String),
    /// Several inputs are wrong; each message stands on its own line.
    #[error("{}", .0.join("\n"))]
    Inputs(Vec<String>),
    /// Locked packages that no mirror has any more: locking again helps.
    #[error("{0}")]
    Gone(String),
    /// A mirror did not answer, or not with what was locked.
    #[error("{0}")]
    Network(String),
    /// A locked tool failed.
    #[error("{tool} failed: {message}")]
    Tool {
        /// The program.
        tool: String,
        /// Its exit status and what it wrote to standard error.
        message: String,
    },
}

impl Error {
    /// An [`Error::File`] for `map_err`.
    pub fn file(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::File {
            action,
            path,
            source,
        }
    }
}

/// An I/O error with advice where the kernel's word is too short.
struct Reason<'a>(&'a std::io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                write!(
                    f,
                    "the disk is full; nothing half-written was kept: make room or choose another folder with -o"
                )
            }
            _ => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_to_do() {
        let error = Error::file("write", "out/x.raw")(std::io::Error::from(
            std::io::ErrorKind::StorageFull,
        ));
        let message = error.to_string();
        assert!(
            message.starts_with("write out/x.raw: the disk is full"),
            "{message}"
        );
    }
}
