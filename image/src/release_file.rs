//! os-release(5): what an image calls itself.

use std::collections::BTreeMap;

use spec_recipe::{Architecture, Recipe};

/// The fields of os-release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    fields: Vec<(&'static str, String)>,
}

impl Release {
    /// The release of a recipe; `build_id` follows from every input of the build.
    pub(crate) fn new(recipe: &Recipe, build_id: &str) -> Release {
        let architecture = match recipe.architecture {
            Architecture::Amd64 => "x86-64",
            Architecture::Arm64 => "arm64",
        };
        let version = &recipe.version;
        let id = &recipe.id;
        Release {
            fields: vec![
                ("NAME", "Bedplate".into()),
                ("PRETTY_NAME", format!("Bedplate {version} ({id})")),
                ("ID", "bedplate".into()),
                ("ID_LIKE", "debian".into()),
                ("VERSION_ID", version.clone()),
                ("VARIANT_ID", id.clone()),
                ("IMAGE_ID", id.clone()),
                ("IMAGE_VERSION", version.clone()),
                ("BUILD_ID", build_id.into()),
                ("ARCHITECTURE", architecture.into()),
            ],
        }
    }

    /// The fields by name.
    pub(crate) fn fields(&self) -> BTreeMap<&str, String> {
        self.fields
            .iter()
            .map(|(name, value)| (*name, value.clone()))
            .collect()
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+~".contains(c);
        let line = |(name, value): &(&str, String)| {
            if value.chars().all(plain) {
                format!("{name}={value}\n")
            } else {
                let escaped: String = value
                    .chars()
                    .flat_map(|c| "\"\\$`".contains(c).then_some('\\').into_iter().chain([c]))
                    .collect();
                format!("{name}=\"{escaped}\"\n")
            }
        };
        self.fields.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_a_shell_needs_it() {
        let release = Release {
            fields: vec![("ID", "bedplate".into()), ("NAME", "a $b \"c\"".into())],
        };
        assert_eq!(release.text(), "ID=bedplate\nNAME=\"a \\$b \\\"c\\\"\"\n");
        assert_eq!(release.fields()["ID"], "bedplate");
    }
}
