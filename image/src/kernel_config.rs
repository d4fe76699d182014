//! Whether a kernel's configuration has what a node needs: `kernel-config/required.toml`.
//!
//! The list stands beside the fragments that would build such a kernel, so that it is one truth for both.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The list.
const REQUIRED: &str = include_str!("../../kernel-config/required.toml");

/// An option that a configuration lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name with `CONFIG_`.
    pub option: String,
    /// What would do: `y`, `m`, a value.
    pub wanted: Vec<String>,
    /// What the configuration says; nothing if the option is not set.
    pub found: Option<String>,
    /// What the node needs it for.
    pub purpose: String,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wanted = self.wanted.join(" or ");
        let found = self.found.as_deref().unwrap_or("not set");
        write!(
            f,
            "{} is {found}, {wanted} is needed: {}",
            self.option, self.purpose
        )
    }
}

/// A group of options with one purpose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    purpose: String,
    /// Must be built in.
    #[serde(default)]
    built_in: Vec<String>,
    /// Must be there, as a module or built in.
    #[serde(default)]
    any: Vec<String>,
}

/// What the configuration lacks, in the order of the list.
pub fn check(config: &str) -> Vec<Missing> {
    let set = parse(config);
    let mut missing = Vec::new();
    for group in required().into_values() {
        let built_in = group.built_in.iter().map(|option| (option, &["y"][..]));
        for (option, wanted) in
            built_in.chain(group.any.iter().map(|option| (option, &["y", "m"][..])))
        {
            let option = format!("CONFIG_{option}");
            let found = set.get(option.as_str()).copied();
            if !found.is_some_and(|value| wanted.contains(&value)) {
                missing.push(Missing {
                    option,
                    wanted: wanted.iter().map(|value| value.to_string()).collect(),
                    found: found.map(str::to_owned),
                    purpose: group.purpose.clone(),
                });
            }
        }
    }
    missing
}

/// Options that are set, by name.
fn parse(config: &str) -> BTreeMap<&str, &str> {
    let lines = config
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("CONFIG_"));
    lines.filter_map(|line| line.split_once('=')).collect()
}

fn required() -> BTreeMap<String, Group> {
    toml::from_str(REQUIRED).expect("a test reads the list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_reads_and_names_no_option_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for (name, group) in required() {
            assert!(!group.purpose.is_empty(), "{name}");
            for option in group.built_in.iter().chain(&group.any) {
                assert!(seen.insert(option.clone()), "{option} is there twice");
                assert!(!option.starts_with("CONFIG_"), "{option}");
            }
        }
        assert!(seen.len() > 50);
    }

    #[test]
    fn the_fragments_set_what_the_list_requires() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-config");
        let mut fragments: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "config")
            })
            .collect();
        fragments.sort();
        let text: String = fragments
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        assert_eq!(check(&text), []);
    }

    #[test]
    fn what_is_missing_says_what_for() {
        let missing = check("CONFIG_DM_VERITY=m\n# CONFIG_EROFS_FS is not set\nCONFIG_CGROUPS=m\n");
        assert!(
            !missing
                .iter()
                .any(|missing| missing.option == "CONFIG_DM_VERITY")
        );
        let cgroups = missing
            .iter()
            .find(|missing| missing.option == "CONFIG_CGROUPS")
            .unwrap();
        assert!(
            cgroups
                .to_string()
                .starts_with("CONFIG_CGROUPS is m, y is needed: "),
            "{cgroups}"
        );
        let erofs = missing
            .iter()
            .find(|missing| missing.option == "CONFIG_EROFS_FS")
            .unwrap();
        assert!(
            erofs
                .to_string()
                .starts_with("CONFIG_EROFS_FS is not set, y or m is needed"),
            "{erofs}"
        );
    }
}
