//! Debian's relations (policy 7): `a (>= 1) | b, c`, and what fulfils one.

use debversion::Version;

/// One alternative of a relation, or one provided name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Atom {
    pub(crate) name: String,
    pub(crate) version: Option<(Operator, String)>,
}

/// How a version is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Before,
    Until,
    Exactly,
    From,
    After,
}

impl Operator {
    const ALL: [(&'static str, Operator); 5] = [
        ("<<", Operator::Before),
        ("<=", Operator::Until),
        (">=", Operator::From),
        (">>", Operator::After),
        ("=", Operator::Exactly),
    ];

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, operator)| *operator == self)
            .map_or("", |(name, _)| name)
    }
}

/// A relation's alternatives.
pub(crate) type Alternatives = Vec<Atom>;

/// The relations of a field.
pub(crate) fn parse(field: &str) -> Result<Vec<Alternatives>, String> {
    let relations = field
        .split(',')
        .map(str::trim)
        .filter(|relation| !relation.is_empty());
    relations
        .map(|relation| relation.split('|').map(atom).collect())
        .collect()
}

fn atom(text: &str) -> Result<Atom, String> {
    let wrong = || format!("\"{}\" is no relation", text.trim().escape_debug());
    // "[amd64]" and "<!nocheck>" stand in sources only; ":any" asks for another architecture's package at will.
    let (name, version) = match text.split_once('(') {
        Some((name, version)) => (
            name,
            Some(version.split_once(')').ok_or_else(wrong)?.0.trim()),
        ),
        None => (text, None),
    };
    let name = name.trim().split(':').next().unwrap_or_default();
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b))
    {
        return Err(wrong());
    }
    let version = match version {
        None => None,
        Some(version) => {
            let (sign, operator) = Operator::ALL
                .iter()
                .find(|(sign, _)| version.starts_with(sign))
                .ok_or_else(wrong)?;
            Some((
                *operator,
                version
                    .strip_prefix(sign)
                    .unwrap_or_default()
                    .trim()
                    .to_owned(),
            ))
        }
    };
    Ok(Atom {
        name: name.to_owned(),
        version,
    })
}

impl Atom {
    /// Any version of `name`.
    pub(crate) fn any(name: &str) -> Self {
        Atom {
            name: name.to_owned(),
            version: None,
        }
    }

    /// Whether `version` is one that this asks for.
    pub(crate) fn admits(&self, version: &str) -> bool {
        let Some((operator, wanted)) = &self.version else {
            return true;
        };
        let (Ok(version), Ok(wanted)) = (version.parse::<Version>(), wanted.parse::<Version>())
        else {
            return false;
        };
        match operator {
            Operator::Before => version < wanted,
            Operator::Until => version <= wanted,
            Operator::Exactly => version == wanted,
            Operator::From => version >= wanted,
            Operator::After => version > wanted,
        }
    }

    /// Whether a package that provides `provided` fulfils this: a version asks for a versioned Provides.
    pub(crate) fn admits_provided(&self, provided: &Atom) -> bool {
        provided.name == self.name
            && match (&self.version, &provided.version) {
                (None, _) => true,
                (Some(_), Some((Operator::Exactly, version))) => self.admits(version),
                _ => false,
            }
    }
}

impl std::fmt::Display for Atom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            Some((operator, version)) => write!(f, "{} ({} {version})", self.name, operator.name()),
            None => f.write_str(&self.name),
        }
    }
}

/// `a | b`, for a message.
pub(crate) fn shown(alternatives: &[Atom]) -> String {
    alternatives
        .iter()
        .map(Atom::to_string)
        .collect::<Vec<_>>()
        .join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_read_and_written() {
        let relations =
            parse("libc6 (>= 2.38), debconf (>= 0.5) | debconf-2.0, python3:any (<< 4~),\n x")
                .expect("good");
        let shown: Vec<_> = relations
            .iter()
            .map(|alternatives| shown(alternatives))
            .collect();
        assert_eq!(
            shown,
            [
                "libc6 (>= 2.38)",
                "debconf (>= 0.5) | debconf-2.0",
                "python3 (<< 4~)",
                "x"
            ]
        );
        for bad in ["a (2)", "a (>= 2", "a b", "(>= 2)"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_are_compared_as_debian_does() {
        let admits =
            |relation: &str, version: &str| parse(relation).expect("good")[0][0].admits(version);
        assert!(admits("a (>= 1:1.0)", "1:1.0-1") && !admits("a (>= 1:1.0)", "2.0"));
        assert!(admits("a (<< 2.0)", "2.0~rc1") && !admits("a (<< 2.0)", "2.0"));
        assert!(admits("a (= 1-1+b2)", "1-1+b2") && !admits("a (= 1-1)", "1-1+b2"));
        assert!(admits("a (>> 1.9)", "1.10") && admits("a (<= 1.10)", "1.10"));
    }

    #[test]
    fn a_versioned_relation_needs_a_versioned_provides() {
        let provided = |text: &str| parse(text).expect("good").remove(0).remove(0);
        let wants = provided("mail (>= 2)");
        assert!(!wants.admits_provided(&provided("mail")));
        assert!(wants.admits_provided(&provided("mail (= 3)")));
        assert!(!wants.admits_provided(&provided("mail (= 1)")));
        assert!(Atom::any("mail").admits_provided(&provided("mail")));
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(field in "[a-c0-9()<>=|,:~. -]{0,40}") {
            for relation in parse(&field).unwrap_or_default() {
                for atom in relation {
                    let _ = atom.admits("1:2~3-4");
                }
            }
        }
    }
}
