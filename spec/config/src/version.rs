//! [`Schema`]: the version of the document's form, read before anything else, so that a newer document is called
//! newer and not wrong.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::error::Error;

/// Version this code reads and writes.
pub const SCHEMA: i64 = 1;

/// `schema = 1`: always [`SCHEMA`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Schema;

impl TryFrom<i64> for Schema {
    type Error = String;
    fn try_from(schema: i64) -> Result<Self, String> {
        if schema == SCHEMA {
            return Ok(Self);
        }
        Err(format!(
            "schema {schema} is not known here; this image reads {SCHEMA}"
        ))
    }
}

impl From<Schema> for i64 {
    fn from(_: Schema) -> i64 {
        SCHEMA
    }
}

#[derive(Deserialize)]
struct Version {
    schema: Option<Spanned<i64>>,
}

/// Refuses a document of another version, or of none.
pub(crate) fn check(text: &str) -> Result<(), Error> {
    let version: Version = toml::from_str(text).map_err(|error| Error::from_toml(text, &error))?;
    let Some(schema) = version.schema else {
        let message = format!("`schema` is missing; write `schema = {SCHEMA}`");
        return Err(Error::at(text, 0, message));
    };
    Schema::try_from(*schema.get_ref())
        .map(drop)
        .map_err(|message| Error::at(text, schema.span().start, message))
}
