//! One error: which file, which member, what is wrong.

use std::fmt;

/// Why an archive is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The archive, as the caller named it.
    pub file: String,
    /// The member, where one is known.
    pub member: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl Error {
    /// About the whole file.
    pub fn whole(file: &str, message: impl Into<String>) -> Self {
        Error {
            file: file.to_owned(),
            member: None,
            message: message.into(),
        }
    }

    /// About one member.
    pub fn member(file: &str, member: &str, message: impl Into<String>) -> Self {
        Error {
            file: file.to_owned(),
            member: Some(member.to_owned()),
            message: message.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            // A member's name is hostile too: no control character reaches the terminal.
            Some(member) => write!(
                f,
                "{}: {}: {}",
                self.file,
                member.escape_debug(),
                self.message
            ),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for Error {}

/// What an I/O error while reading means to a person.
pub(crate) fn reading(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "ends too early (truncated)".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}
