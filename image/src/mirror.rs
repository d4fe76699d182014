//! Where packages come from: BEDPLATE_MIRROR, the recipe's `mirror`, this machine's own apt sources.
//!
//! No address is written in the project. What an address serves is found by asking it; what it answers is believed
//! only as far as signatures and hashes go (`release`, `fetch`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use spec_recipe::Recipe;

use crate::{Error, apt_sources};

/// Names addresses, separated by blanks.
pub const VARIABLE: &str = "BEDPLATE_MIRROR";
/// Where apt keeps its sources.
const APT: &str = "/etc/apt";

/// The addresses to ask, for each suite.
#[derive(Debug)]
pub struct Mirrors {
    /// In the order of preference, with the suites that apt takes from there, if it is one of apt's.
    addresses: Vec<(String, Vec<String>)>,
    archive: Option<String>,
    /// The address that answered last for a suite.
    answered: Mutex<BTreeMap<String, String>>,
}

impl Mirrors {
    /// The mirrors for a recipe on this machine.
    pub fn of(recipe: &Recipe) -> Result<Self, Error> {
        let variable = std::env::var(VARIABLE).unwrap_or_default();
        Self::from(
            &variable,
            recipe.mirror.as_deref(),
            recipe.archive_mirror.as_deref(),
            Path::new(APT),
        )
    }

    fn from(
        variable: &str,
        recipe: Option<&str>,
        archive: Option<&str>,
        apt: &Path,
    ) -> Result<Self, Error> {
        let mut addresses: Vec<(String, Vec<String>)> = Vec::new();
        for address in variable.split_whitespace() {
            if !(address.starts_with("http://") || address.starts_with("https://")) {
                return Err(Error::Input(format!(
                    "{VARIABLE}: \"{address}\" must be an http:// or https:// address"
                )));
            }
            addresses.push((trimmed(address), Vec::new()));
        }
        // What a person names is meant alone: a mirror behind a company's wall is not mixed with the world's.
        if addresses.is_empty() {
            addresses.extend(recipe.map(|address| (trimmed(address), Vec::new())));
        }
        if addresses.is_empty() {
            addresses.extend(
                apt_sources::debian(apt)
                    .into_iter()
                    .map(|source| (source.address, source.suites)),
            );
        }
        Ok(Mirrors {
            addresses,
            archive: archive.map(trimmed),
            answered: Mutex::default(),
        })
    }

    /// Exactly these addresses.
    #[cfg(test)]
    pub(crate) fn fixed(addresses: &[&str], archive: Option<&str>) -> Self {
        let addresses = addresses
            .iter()
            .map(|address| (trimmed(address), Vec::new()))
            .collect();
        Mirrors {
            addresses,
            archive: archive.map(trimmed),
            answered: Mutex::default(),
        }
    }

    /// Addresses to ask for `suite`, the likeliest first.
    pub fn for_suite(&self, suite: &str) -> Result<Vec<String>, Error> {
        if self.addresses.is_empty() {
            return Err(Error::Input(format!(
                "no Debian mirror is known: this machine's apt sources name none; set {VARIABLE} or \"mirror\" in the recipe"
            )));
        }
        let security = suite.ends_with("-security");
        let mut ranked: Vec<(u8, String)> = Vec::new();
        for (address, suites) in &self.addresses {
            let likely = suites.is_empty()
                || suites
                    .iter()
                    .any(|known| known.ends_with("-security") == security);
            ranked.push((if likely { 1 } else { 3 }, address.clone()));
            if security {
                ranked.extend(
                    security_siblings(address)
                        .into_iter()
                        .map(|sibling| (2, sibling)),
                );
            }
        }
        if let Ok(answered) = self.answered.lock()
            && let Some(address) = answered.get(suite)
        {
            ranked.push((0, address.clone()));
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        let mut addresses: Vec<String> = Vec::new();
        for (_, address) in ranked {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    /// Remembers which address answered for `suite`.
    pub(crate) fn remember(&self, suite: &str, address: &str) {
        if let Ok(mut answered) = self.answered.lock() {
            answered.insert(suite.to_owned(), address.to_owned());
        }
    }

    /// Addresses that keep superseded packages of `suite`.
    pub fn archives(&self, suite: &str) -> Vec<String> {
        let Some(archive) = &self.archive else {
            return Vec::new();
        };
        let mut addresses = vec![archive.clone()];
        if suite.ends_with("-security") {
            addresses.extend(security_siblings(archive));
        }
        addresses
    }
}

fn trimmed(address: &str) -> String {
    address.trim_end_matches('/').to_owned()
}

/// The security archive is often beside the main one: `.../debian` and `.../debian-security`.
fn security_siblings(address: &str) -> Vec<String> {
    if address.ends_with("-security") {
        return Vec::new();
    }
    let mut siblings = vec![format!("{address}-security")];
    // "http://host" has nothing beside it, only below it.
    let beside = address
        .rsplit_once('/')
        .map(|(parent, _)| parent)
        .filter(|parent| !parent.ends_with('/'));
    siblings.push(format!("{}/debian-security", beside.unwrap_or(address)));
    siblings.dedup();
    siblings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apt(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("sources.list"), text).expect("written");
        folder
    }

    #[test]
    fn the_variable_comes_before_the_recipe_and_the_recipe_before_apt() {
        let apt = apt("deb http://apt.example/debian trixie main\n");
        let first = |variable: &str, recipe: Option<&str>| {
            Mirrors::from(variable, recipe, None, apt.path())
                .and_then(|m| m.for_suite("trixie"))
                .expect("mirrors")
        };
        assert_eq!(
            first("http://v.example/debian/", Some("http://r.example/d")),
            ["http://v.example/debian"]
        );
        assert_eq!(
            first("", Some("http://r.example/d")),
            ["http://r.example/d"]
        );
        assert_eq!(first("", None), ["http://apt.example/debian"]);
    }

    #[test]
    fn the_security_suite_is_looked_for_where_apt_has_one_and_beside_the_main_archive() {
        let apt = apt(
            "deb http://apt.example/debian bookworm main\ndeb http://apt.example/debian-security bookworm-security main\n",
        );
        let mirrors = Mirrors::from("", None, None, apt.path()).expect("mirrors");
        assert_eq!(
            mirrors.for_suite("trixie-security").expect("some")[0],
            "http://apt.example/debian-security"
        );
        assert_eq!(
            mirrors.for_suite("trixie").expect("some")[0],
            "http://apt.example/debian"
        );
        let alone = Mirrors::fixed(
            &["http://m.example/debian"],
            Some("http://archive.example/debian"),
        );
        assert_eq!(
            alone.for_suite("trixie-security").expect("some"),
            [
                "http://m.example/debian",
                "http://m.example/debian-security"
            ]
        );
        alone.remember("trixie-security", "http://m.example/debian-security");
        assert_eq!(
            alone.for_suite("trixie-security").expect("some")[0],
            "http://m.example/debian-security"
        );
        assert_eq!(alone.archives("trixie"), ["http://archive.example/debian"]);
    }

    #[test]
    fn no_mirror_says_what_to_set() {
        let apt = apt("");
        let message = Mirrors::from("", None, None, apt.path())
            .and_then(|m| m.for_suite("trixie"))
            .expect_err("none")
            .to_string();
        assert!(message.contains("BEDPLATE_MIRROR"), "{message}");
        assert!(Mirrors::from("ftp://x", None, None, apt.path()).is_err());
    }
}
