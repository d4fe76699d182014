//! The JSON Schema of the machine config, for editors. What it cannot say, [`crate::Config::parse`] still refuses.

use schemars::generate::SchemaSettings;

use crate::{Config, Destination, SCHEMA, Schema};

/// The whole schema (JSON Schema 2020-12) as JSON.
pub fn document() -> serde_json::Value {
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Config>();
    let mut document = serde_json::Value::from(schema);
    document["title"] = "Bedplate machine config".into();
    document
}

impl schemars::JsonSchema for Schema {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Schema".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "const": SCHEMA })
    }
}

impl schemars::JsonSchema for Destination {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Destination".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(default|[0-9a-fA-F.:]+/[0-9]{1,3})$" })
    }
}
