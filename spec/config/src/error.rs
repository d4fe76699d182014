//! [`Error`]: what is wrong with a document, with line and column.

use std::fmt;
use std::str::Utf8Error;

use serde::Serialize;

use crate::MAX_DOCUMENT;
use crate::place::Places;

/// One problem of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Key path of the value, such as `network.links[2].mtu`, where it is known.
    pub field: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

/// Every problem found in a document; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// In the order of the document.
    pub problems: Vec<Problem>,
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(
                f,
                "{}:{}: {}",
                problem.line, problem.column, problem.message
            )?;
        }
        Ok(())
    }
}

impl Problem {
    /// A problem at a byte offset of `text`.
    pub(crate) fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = text.get(..offset).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        Self {
            line,
            column,
            field: None,
            message: message.into(),
        }
    }
}

/// The refusal of a document of so many bytes.
pub(crate) fn too_large(bytes: usize) -> Error {
    let message =
        format!("the document has {bytes} bytes or more; at most {MAX_DOCUMENT} are read");
    Error::at("", 0, message)
}

/// The refusal of a document that is no text.
pub(crate) fn not_utf8(bytes: &[u8], error: Utf8Error) -> Error {
    let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
    let valid = String::from_utf8_lossy(valid);
    let message = "not UTF-8; write the machine config as UTF-8 text";
    Error::at(&valid, valid.len(), message)
}

impl Error {
    /// One problem of the value at a key path of `text`.
    pub fn of_field(text: &str, path: impl Into<String>, message: impl Into<String>) -> Self {
        let path = path.into();
        let mut problem = Problem::at(text, Places::of(text).offset(&path), message);
        problem.field = Some(path);
        Self {
            problems: vec![problem],
        }
    }

    /// One problem at a byte offset of `text`.
    pub(crate) fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        Self {
            problems: vec![Problem::at(text, offset, message)],
        }
    }

    /// What the TOML reader refused. Quoted values are left out: one may be a secret in the wrong place.
    pub(crate) fn from_toml(text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start);
        Self::at(text, offset, without_quoted_value(error.message()))
    }
}

/// `invalid type: string "VALUE", expected ...` without the value.
fn without_quoted_value(message: &str) -> String {
    match (message.find("string \""), message.rfind("\", expected")) {
        (Some(start), Some(end)) if start < end => {
            let before = message.get(..start).unwrap_or_default();
            let after = message.get(end + 1..).unwrap_or_default();
            format!("{before}string{after}")
        }
        _ => message.to_owned(),
    }
}
