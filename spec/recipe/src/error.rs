//! One error: where, and what is wrong there.

use std::fmt;
use std::ops::Range;

/// What is wrong with a file, with the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file, as the caller named it.
    pub file: String,
    /// Line and column, both from 1; nothing where the whole file is meant.
    pub position: Option<(usize, usize)>,
    /// What is wrong and what to do.
    pub message: String,
}

impl Error {
    /// About the whole file.
    pub fn whole(file: &str, message: impl Into<String>) -> Self {
        Error {
            file: file.to_owned(),
            position: None,
            message: message.into(),
        }
    }

    /// About the bytes `span` of `text`.
    pub fn at(file: &str, text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        Error {
            file: file.to_owned(),
            position: Some(position(text, span.start)),
            message: message.into(),
        }
    }

    /// What the TOML reader said.
    pub(crate) fn toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().replace('\n', " ");
        match error.span() {
            Some(span) => Error::at(file, text, span, message),
            None => Error::whole(file, message),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for Error {}

/// Line and column (in characters) of a byte.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// Reads one TOML file of any of this crate's types.
pub(crate) fn read<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, Error> {
    if text.len() > crate::FILE_BYTES_MAX {
        return Err(Error::whole(
            file,
            format!("longer than {} bytes", crate::FILE_BYTES_MAX),
        ));
    }
    toml::from_str(text).map_err(|error| Error::toml(file, text, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_characters_from_one() {
        assert_eq!(position("", 0), (1, 1));
        assert_eq!(position("a = 1\nbü = 2\n", 9), (2, 3));
        assert_eq!(position("short", 99), (1, 6));
    }
}
