//! The checkout that `bedplate` works in.

use std::path::{Path, PathBuf};

use crate::exit::Error;

/// Where sources, recipes and build results stand.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The workspace around the current folder, else the one that cargo runs us from.
    pub(crate) fn find() -> Result<Self, Error> {
        let here = std::env::current_dir().map_err(|error| {
            Error::Failed(format!("the current folder cannot be read: {error}"))
        })?;
        let from_cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = [Some(here), from_cargo].into_iter().flatten().find_map(|start| above(&start)).ok_or_else(|| {
            Error::Failed(
                "this is not a Bedplate checkout: no folder from here upwards holds rust-toolchain.toml and init/pid1/; \
                 run the command inside one"
                    .into(),
            )
        })?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => root.join(folder),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The folder with the workspace's Cargo.toml.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target folder.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The recipe that `name` means: a path as it is, a bare name below `recipes/`.
    pub(crate) fn recipe(&self, name: &str) -> Result<PathBuf, Error> {
        let path = if name.contains('/') || name.ends_with(".toml") {
            PathBuf::from(name)
        } else {
            self.root.join("recipes").join(format!("{name}.toml"))
        };
        if path.is_file() {
            return Ok(path);
        }
        Err(Error::Usage(format!(
            "there is no recipe {}; recipes/ holds: {}",
            path.display(),
            self.recipes().join(", ")
        )))
    }

    /// Names of the recipes of this checkout.
    pub(crate) fn recipes(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.root.join("recipes"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                entry
                    .file_name()
                    .to_str()?
                    .strip_suffix(".toml")
                    .map(str::to_owned)
            })
            .collect();
        names.sort();
        names
    }
}

fn above(start: &Path) -> Option<PathBuf> {
    start
        .ancestors()
        .find(|folder| {
            folder.join("rust-toolchain.toml").is_file()
                && folder.join("init/pid1/Cargo.toml").is_file()
        })
        .map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_found_from_a_folder_inside_it() {
        let root = above(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("cli/ is inside a checkout");
        assert!(root.join("cli/Cargo.toml").is_file());
        assert_eq!(above(&root.join("init/pid1/src")), Some(root));
    }

    #[test]
    fn a_folder_outside_is_no_checkout() {
        assert_eq!(above(Path::new("/proc")), None);
    }

    #[test]
    fn an_unknown_recipe_is_answered_with_the_known_ones() {
        let folder = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir_all(folder.path().join("recipes")).expect("mkdir");
        std::fs::write(folder.path().join("recipes/base.toml"), "").expect("write");
        let workspace = Workspace {
            root: folder.path().into(),
            target: folder.path().join("target"),
        };
        let error = workspace
            .recipe("nod")
            .expect_err("no such recipe")
            .to_string();
        assert!(
            error.contains("recipes/nod.toml") && error.ends_with("holds: base"),
            "{error}"
        );
        assert!(workspace.recipe("base").is_ok());
    }
}
