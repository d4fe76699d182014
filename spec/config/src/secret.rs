//! [`Secret`]: text that no log line, error or view may show.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a view shows where a secret is.
pub const HIDDEN: &str = "(hidden)";

/// A secret string. It can be read only by [`Secret::expose`], so every place that does is found by name. Written by
/// serde as it is: a document with secrets is itself secret, and what is shown is made by [`crate::Config::masked`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a text as secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Puts [`HIDDEN`] in its place.
    pub(crate) fn mask(&mut self) {
        HIDDEN.clone_into(&mut self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
