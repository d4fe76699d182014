//! [`LinkReference`]: one link named by the entry of another, as a bond's member or a VLAN's parent.

use std::fmt;

use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::check::Check;
use crate::network::link::{self, Link, LinkMatch};

/// A link that another one needs: the name of an entry of the document, or a match of links that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkReference {
    /// The link that the entry with this name makes, or matches by name.
    Name(String),
    /// Each link that is there and matches.
    Match(LinkMatch),
}

impl LinkReference {
    /// Whether it surely means the link of this entry, whatever links a machine has.
    pub fn means(&self, entry: &Link) -> bool {
        match self {
            Self::Name(name) => entry.own_name() == Some(name.as_str()),
            Self::Match(matches) => match entry.name.as_ref() {
                Some(name) => matches.name.as_deref() == Some(name.as_str()),
                None => matches.is_same(&entry.matches),
            },
        }
    }

    /// Whether both surely mean the same link.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.as_match().is_same(&other.as_match())
    }

    fn as_match(&self) -> LinkMatch {
        match self {
            Self::Name(name) => LinkMatch {
                name: Some(name.clone()),
                ..LinkMatch::default()
            },
            Self::Match(matches) => matches.clone(),
        }
    }
}

impl fmt::Display for LinkReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Match(matches) => matches.fmt(f),
        }
    }
}

impl Serialize for LinkReference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => serializer.serialize_str(name),
            Self::Match(matches) => matches.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for LinkReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = LinkReference;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a link, or a table such as { mac = \"...\" }")
            }
            fn visit_str<E>(self, name: &str) -> Result<LinkReference, E> {
                Ok(LinkReference::Name(name.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LinkReference, A::Error> {
                LinkMatch::deserialize(MapAccessDeserializer::new(map)).map(LinkReference::Match)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for LinkReference {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LinkReference".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let matches = generator.subschema_for::<LinkMatch>();
        schemars::json_schema!({ "anyOf": [{ "type": "string", "maxLength": 15 }, matches] })
    }
}

/// Checks the references of a list, and that none stands twice.
pub(super) fn check(check: &mut Check<'_>, path: &str, references: &[LinkReference]) -> bool {
    if !check.bounded(path, references) {
        return false;
    }
    for (index, reference) in references.iter().enumerate() {
        let place = format!("{path}[{index}]");
        check_one(check, &place, reference);
        if references
            .iter()
            .take(index)
            .any(|earlier| earlier.is_same(reference))
        {
            check.refuse(place, format!("link {reference} stands twice"));
        }
    }
    true
}

/// Checks one reference by itself.
pub(super) fn check_one(check: &mut Check<'_>, path: &str, reference: &LinkReference) {
    if let LinkReference::Match(matches) = reference {
        link::check_match(check, path, matches);
    }
}
