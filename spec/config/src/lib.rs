//! The machine config: one TOML document with `schema = 1`.
//!
//! Raw types refuse unknown keys; [`Config`] is what they resolve to.
