//! Unit names: `prefix[@instance].type`, and the escaping of paths in them, systemd.unit(5).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest unit name.
pub const MAX_NAME: usize = 255;

/// Types of units by their suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitType {
    /// Processes.
    Service,
    /// A group of units.
    Target,
    /// Not run by PID 1 yet.
    Socket,
    /// Not run by PID 1 yet.
    Timer,
    /// Not run by PID 1 yet.
    Path,
    /// A file system where it belongs.
    Mount,
    /// Not run by PID 1 yet.
    Automount,
    /// Not run by PID 1 yet.
    Swap,
    /// A branch of the cgroup tree; made on demand.
    Slice,
    /// Processes started by others.
    Scope,
    /// A device that the device service tells of.
    Device,
}

const TYPES: &[(&str, UnitType)] = &[
    ("service", UnitType::Service),
    ("target", UnitType::Target),
    ("socket", UnitType::Socket),
    ("timer", UnitType::Timer),
    ("path", UnitType::Path),
    ("mount", UnitType::Mount),
    ("automount", UnitType::Automount),
    ("swap", UnitType::Swap),
    ("slice", UnitType::Slice),
    ("scope", UnitType::Scope),
    ("device", UnitType::Device),
];

impl UnitType {
    /// The suffix without its dot.
    pub fn suffix(self) -> &'static str {
        TYPES
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("service", |(suffix, _)| suffix)
    }

    /// Whether PID 1 can start units of this type.
    pub fn runs(self) -> bool {
        matches!(
            self,
            Self::Service | Self::Target | Self::Slice | Self::Mount | Self::Device
        )
    }

    /// Whether a unit of this type is there without a file: its name says what it is.
    pub fn needs_no_file(self) -> bool {
        matches!(self, Self::Slice | Self::Device)
    }
}

/// A checked unit name in its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName {
    /// Before the `@`.
    pub prefix: String,
    /// After the `@`; empty in a template.
    pub instance: Option<String>,
    /// The suffix.
    pub kind: UnitType,
}

impl UnitName {
    /// Checks and splits a name.
    pub fn parse(name: &str) -> Result<Self, String> {
        let refuse = |why: &str| format!("{name:?} is not a unit name: {why}");
        if name.len() > MAX_NAME {
            return Err(format!("unit name longer than {MAX_NAME} bytes"));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        if !name.bytes().all(allowed) {
            return Err(refuse(
                "only letters, digits and \":-_.\\@\" may stand in it",
            ));
        }
        let (stem, suffix) = name
            .rsplit_once('.')
            .ok_or_else(|| refuse("it has no type such as \".service\""))?;
        let kind = TYPES
            .iter()
            .find(|(known, _)| *known == suffix)
            .map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| refuse("its type is not one of systemd's"))?;
        let (prefix, instance) = match stem.split_once('@') {
            Some((prefix, instance)) => (prefix, Some(instance.to_string())),
            None => (stem, None),
        };
        if prefix.is_empty() {
            return Err(refuse("it is empty before its type"));
        }
        Ok(Self {
            prefix: prefix.into(),
            instance,
            kind,
        })
    }

    /// `name@.service`.
    pub fn is_template(&self) -> bool {
        self.instance.as_deref() == Some("")
    }

    /// The template of an instance.
    pub fn template(&self) -> Option<Self> {
        let instance = self.instance.as_deref()?;
        (!instance.is_empty()).then(|| Self {
            instance: Some(String::new()),
            ..self.clone()
        })
    }

    /// This template with an instance put in.
    pub fn with_instance(&self, instance: &str) -> Self {
        Self {
            instance: Some(instance.into()),
            ..self.clone()
        }
    }

    /// The name without its type.
    pub fn stem(&self) -> String {
        match &self.instance {
            Some(instance) => format!("{}@{instance}", self.prefix),
            None => self.prefix.clone(),
        }
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.stem(), self.kind.suffix())
    }
}

/// As systemd-escape: `/` becomes `-`; what may not stand in a unit name, a `-` too, becomes `\xNN`, and so does a dot
/// at the beginning.
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for (at, byte) in text.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b":_.".contains(&byte);
        match byte {
            b'/' => out.push('-'),
            b'.' if at == 0 => out.push_str("\\x2e"),
            byte if plain => out.push(char::from(byte)),
            byte => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

/// The unit of an absolute path, as `systemd-escape --path` names it: `/` is `-`, and slashes at the ends or doubled
/// do not count. None if the name would be too long.
pub fn of_path(path: &str, kind: UnitType) -> Option<String> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let stem = match parts.is_empty() {
        true => "-".to_string(),
        false => escape(&parts.join("/")),
    };
    let name = format!("{stem}.{}", kind.suffix());
    (name.len() <= MAX_NAME).then_some(name)
}

/// Undoes systemd-escape: `-` becomes `/`, `\xNN` its byte.
pub fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let hex = rest.strip_prefix(b"\\x").and_then(|tail| tail.get(..2));
        let byte = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = byte {
            out.push(byte);
            rest = rest.get(4..).unwrap_or_default();
        } else {
            out.push(if first == b'-' { b'/' } else { first });
            rest = tail;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The folder names in which drop-ins of a unit are looked for, the most specific first.
pub fn drop_in_folders(name: &UnitName) -> Vec<String> {
    let mut stems = vec![name.stem()];
    if let Some(template) = name.template() {
        stems.push(template.stem());
    }
    let suffix = name.kind.suffix();
    let mut prefix = name.prefix.as_str();
    while let Some((head, _)) = prefix.trim_end_matches('-').rsplit_once('-') {
        stems.push(format!("{head}-"));
        prefix = head;
    }
    let mut folders: Vec<String> = stems
        .into_iter()
        .map(|stem| format!("{stem}.{suffix}.d"))
        .collect();
    folders.push(format!("{suffix}.d"));
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart_and_together_again() {
        let name = UnitName::parse("postgresql@17-main.service").unwrap();
        assert_eq!(
            (name.prefix.as_str(), name.instance.as_deref()),
            ("postgresql", Some("17-main"))
        );
        assert_eq!(name.to_string(), "postgresql@17-main.service");
        assert_eq!(name.template().unwrap().to_string(), "postgresql@.service");
        assert!(name.template().unwrap().is_template());
    }

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        for (name, why) in [
            ("a", "no type"),
            (".service", "empty"),
            ("a/b.service", "letters"),
            ("a.unit", "type"),
        ] {
            assert!(UnitName::parse(name).unwrap_err().contains(why), "{name}");
        }
        assert!(UnitName::parse(&("a".repeat(300) + ".service")).is_err());
    }

    #[test]
    fn escaped_paths_come_back() {
        assert_eq!(unescape("var-lib\\x2detcd"), "var/lib-etcd");
        assert_eq!(unescape("broken\\x2"), "broken\\x2");
    }

    #[test]
    fn paths_become_names() {
        for (path, name) in [
            ("/", "-.mount"),
            ("/var//lib/x-y/", "var-lib-x\\x2dy.mount"),
            ("/.hidden", "\\x2ehidden.mount"),
            ("/a b", "a\\x20b.mount"),
        ] {
            assert_eq!(of_path(path, UnitType::Mount).as_deref(), Some(name));
        }
        assert_eq!(of_path(&"/a".repeat(200), UnitType::Mount), None);
        assert_eq!(escape("pg-a"), "pg\\x2da");
    }

    #[test]
    fn drop_in_folders_go_from_the_unit_to_its_type() {
        let name = UnitName::parse("foo-bar@baz.service").unwrap();
        let expected = [
            "foo-bar@baz.service.d",
            "foo-bar@.service.d",
            "foo-.service.d",
            "service.d",
        ];
        assert_eq!(drop_in_folders(&name), expected);
    }
}
