//! What one config changes in another: key path by key path, secrets hidden.

use std::fmt;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{Config, Error, HIDDEN};

/// One value that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Difference {
    /// Its key path, such as `network.links[2].mtu`.
    pub field: String,
    /// What was there, as TOML; nothing where the key is new.
    pub from: Option<String>,
    /// What is there now; nothing where the key is gone.
    pub to: Option<String>,
}

impl Difference {
    fn new(path: &str, from: Option<&Value>, to: Option<&Value>) -> Self {
        Self {
            field: path.to_owned(),
            from: from.map(Value::to_string),
            to: to.map(Value::to_string),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.from, &self.to) {
            (None, Some(to)) => write!(f, "+ {} = {}", self.field, short(to)),
            (Some(from), None) => write!(f, "- {} = {}", self.field, short(from)),
            (from, to) => {
                let of = |value: &Option<String>| short(value.as_deref().unwrap_or_default());
                write!(f, "~ {} = {} -> {}", self.field, of(from), of(to))
            }
        }
    }
}

/// As much of a value as fits a line: certificates do not.
fn short(value: &str) -> String {
    let line: String = value.chars().filter(|c| !c.is_control()).take(72).collect();
    if line.len() < value.len() {
        return format!("{line}...");
    }
    line
}

/// All differences, sorted by key path as far as keys go; none between equal configs. A secret that differs is named and not
/// shown.
pub fn between(old: &Config, new: &Config) -> Result<Vec<Difference>, Error> {
    let value = |config: &Config| {
        Value::try_from(config).map_err(|error| Error::at("", 0, error.to_string()))
    };
    let mut found = Vec::new();
    compare("", Some(&value(old)?), Some(&value(new)?), &mut found);
    let mut copy = new.clone();
    let secrets: Vec<String> = copy.secrets_mut().map(|(path, _)| path).collect();
    let mut copy = old.clone();
    let old_secrets = copy.secrets_mut().map(|(path, _)| path);
    let secrets: Vec<String> = old_secrets.chain(secrets).collect();
    for difference in &mut found {
        if secrets.contains(&difference.field) {
            for value in [&mut difference.from, &mut difference.to] {
                *value = value.as_ref().map(|_| HIDDEN.to_owned());
            }
        }
    }
    Ok(found)
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Difference>) {
    if old == new {
        return;
    }
    let table = |value: Option<&Value>| value.and_then(Value::as_table).cloned();
    let array = |value: Option<&Value>| value.and_then(Value::as_array).cloned();
    let is_table = |value: Option<&Value>| value.is_none_or(Value::is_table);
    let is_array = |value: Option<&Value>| value.is_none_or(Value::is_array);
    if is_table(old) && is_table(new) {
        let whole = old.is_none() || new.is_none();
        if whole
            && [old, new]
                .iter()
                .flatten()
                .all(|value| value.as_table().is_some_and(Table::is_empty))
        {
            found.push(Difference::new(path, old, new));
        }
        let (old, new) = (
            table(old).unwrap_or_default(),
            table(new).unwrap_or_default(),
        );
        let gone = old.keys().filter(|key| !new.contains_key(*key));
        for key in new.keys().chain(gone) {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            compare(&path, old.get(key), new.get(key), found);
        }
    } else if is_array(old) && is_array(new) {
        let (old, new) = (
            array(old).unwrap_or_default(),
            array(new).unwrap_or_default(),
        );
        for index in 0..old.len().max(new.len()) {
            let path = format!("{path}[{index}]");
            compare(&path, old.get(index), new.get(index), found);
        }
    } else {
        found.push(Difference::new(path, old, new));
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::master;
    use crate::{Config, difference};

    fn said(edit: impl Fn(String) -> String) -> Vec<String> {
        let old = Config::parse(&master()).unwrap();
        let new = Config::parse(&edit(master())).unwrap();
        let found = difference::between(&old, &new).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn equal_configs_have_none() {
        assert!(said(|text| text).is_empty());
        assert!(said(|text| text.replace("dhcp4 = false\n", "")).is_empty());
    }

    #[test]
    fn each_value_is_named_with_what_it_was_and_is() {
        assert_eq!(
            said(|text| text.replace("mtu = 1500", "mtu = 1400")),
            ["~ network.links[0].mtu = 1500 -> 1400"]
        );
        assert_eq!(
            said(|text| text.replace(", \"fd00::11/64\"", "")),
            ["- network.links[0].addresses[1] = \"fd00::11/64\""]
        );
        assert_eq!(
            said(|text| text.replace("mtu = 1500\n", "")),
            ["- network.links[0].mtu = 1500"]
        );
    }

    #[test]
    fn a_new_table_is_told_value_by_value() {
        let link = "[[network.links]]\nmatch = { name = \"eth1\" }\ndhcp4 = true\n[trust]\n";
        assert_eq!(
            said(|text| text.replace("[trust]\n", link)),
            [
                "+ network.links[1].dhcp4 = true",
                "+ network.links[1].match.name = \"eth1\""
            ]
        );
    }

    #[test]
    fn a_secret_is_named_and_not_shown() {
        assert_eq!(
            said(|text| text.replace("join-token-of-the-test", "another-token-of-the-test")),
            ["~ cluster.join_token = (hidden) -> (hidden)"]
        );
    }
}
