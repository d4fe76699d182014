//! The `[Install]` section: which links enable a unit. Read by the builder, which makes them.

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::name::UnitName;
use crate::unit::Unit;

/// Which links enable a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Install {
    /// Units into whose `.wants` it is linked.
    pub wanted_by: Vec<String>,
    /// Units into whose `.requires` it is linked.
    pub required_by: Vec<String>,
    /// Units into whose `.upholds` it is linked.
    pub upheld_by: Vec<String>,
    /// Other names.
    pub alias: Vec<String>,
    /// Units enabled with it.
    pub also: Vec<String>,
    /// The instance taken when a template is enabled without one.
    pub default_instance: Option<String>,
}

const fn row(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Install",
        name,
        value: "UNIT...",
        documentation,
        support: Support::Set(add),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row(
        "WantedBy",
        "Enabling links the unit into the .wants folder of these.",
    ),
    row(
        "RequiredBy",
        "Enabling links the unit into the .requires folder of these.",
    ),
    row(
        "UpheldBy",
        "Enabling links the unit into the .upholds folder of these.",
    ),
    row("Alias", "Enabling makes these names links to the unit."),
    row("Also", "Enabling enables these too."),
    Directive {
        section: "Install",
        name: "DefaultInstance",
        value: "TEXT",
        documentation: "The instance of a template that is enabled without one.",
        support: Support::Set(set_default_instance),
    },
];

fn add(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let install = &mut unit.install;
    let list = match value.name {
        "WantedBy" => &mut install.wanted_by,
        "RequiredBy" => &mut install.required_by,
        "UpheldBy" => &mut install.upheld_by,
        "Alias" => &mut install.alias,
        _ => &mut install.also,
    };
    if value.is_reset() {
        list.clear();
    }
    for word in value.words()? {
        list.push(UnitName::parse(&word)?.to_string());
    }
    Ok(())
}

fn set_default_instance(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.install.default_instance = Some(value.expanded());
    Ok(())
}
