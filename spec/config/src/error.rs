//! [`Error`]: what is wrong with a document, with line and column.

use std::fmt;

/// One problem of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
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
            message: message.into(),
        }
    }
}

impl Error {
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
