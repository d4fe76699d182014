//! What is wrong with a unit file and where.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A line of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Path of the file.
    pub file: String,
    /// Line, from 1; 0 means the file as a whole.
    pub line: u32,
}

impl Place {
    /// A line of a file.
    pub fn new(file: &str, line: u32) -> Self {
        Self {
            file: file.into(),
            line,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}", self.file),
            line => write!(out, "{}:{line}", self.file),
        }
    }
}

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Said; the unit loads.
    Warning,
    /// The unit is refused, at build and on the node, unless the recipe allows it by name.
    Isolation,
    /// The unit cannot be used as it is.
    Error,
}

/// Something said about a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// Where.
    pub at: Place,
    /// How bad.
    pub severity: Severity,
    /// What, and what to do.
    pub message: String,
}

impl Finding {
    /// A warning.
    pub fn warning(at: Place, message: impl Into<String>) -> Self {
        Self {
            at,
            severity: Severity::Warning,
            message: message.into(),
        }
    }

    /// An error.
    pub fn error(at: Place, message: impl Into<String>) -> Self {
        Self {
            at,
            severity: Severity::Error,
            message: message.into(),
        }
    }

    /// An isolation that is asked for and not implemented.
    pub fn isolation(at: Place, message: impl Into<String>) -> Self {
        Self {
            at,
            severity: Severity::Isolation,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.at, self.message)
    }
}
