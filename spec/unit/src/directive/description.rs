//! `Description=`, `Documentation=`, `SourcePath=`: what people are told about a unit.

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::unit::Unit;

/// What people are told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// One line.
    pub text: String,
    /// Pages.
    pub documentation: Vec<String>,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Unit",
        name: "Description",
        value: "TEXT",
        documentation: "One line that names the unit for people.",
        support: Support::Set(set_text),
    },
    Directive {
        section: "Unit",
        name: "Documentation",
        value: "URI...",
        documentation: "Where to read more.",
        support: Support::Set(add_documentation),
    },
    Directive {
        section: "Unit",
        name: "SourcePath",
        value: "PATH",
        documentation: "What a generated unit was made from. Nothing is read from it.",
        support: Support::NoEffect,
    },
];

fn set_text(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.description.text = value.expanded();
    Ok(())
}

fn add_documentation(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let pages = &mut unit.description.documentation;
    if value.is_reset() {
        pages.clear();
    }
    pages.extend(value.words()?);
    Ok(())
}
