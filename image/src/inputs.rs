//! Everything a build reads, read once, with its digest: what the manifest lists and what decides whether anything
//! changed since the last build.

use std::fs;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use spec_layout::path;
use spec_recipe::{Architecture, Lock, Recipe};

use crate::cache::Key;
use crate::entry::Entries;
use crate::manifest;
use crate::tree::Kind;
use crate::{BuildRequest, Error, Format, overlay};

/// The inputs of one build, packages apart: those are in the lock by hash.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The recipe.
    pub(crate) recipe: Recipe,
    /// The lock.
    pub(crate) lock: Lock,
    /// The package entries.
    pub(crate) entries: Entries,
    /// Overlays with their names, the lowest first.
    pub(crate) overlays: Vec<(String, Vec<overlay::Entry>)>,
    /// Our programs: path in the image and content.
    pub(crate) programs: Vec<(&'static str, Bytes)>,
    /// Formats to write.
    pub(crate) formats: Vec<Format>,
    /// Digests for the manifest.
    pub(crate) digests: manifest::Inputs,
}

impl Inputs {
    /// Reads them.
    pub(crate) fn read(request: &BuildRequest) -> Result<Inputs, Error> {
        let mut digests = manifest::Inputs::default();
        let recipe = Recipe::load(&request.recipe, &mut |path| {
            let text = fs::read_to_string(path)?;
            digests.recipes.push(manifest::File {
                path: relative(path, &request.recipe)?,
                sha256: sha256(text.as_bytes()),
            });
            Ok(text)
        })
        .map_err(|error| Error::Input(error.to_string()))?;
        let lock = read_lock(request, &recipe, &mut digests)?;
        let entries = Entries::read(&recipe)?;
        let overlays = read_overlays(&request.recipe, &recipe.overlays, &mut digests)?;
        let programs = read_programs(request, &mut digests)?;
        let formats = match &request.formats[..] {
            [] => recipe
                .formats
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, String>>()
                .map_err(Error::Input)?,
            formats => formats.to_vec(),
        };
        digests.entries = entries.digests();
        digests.packages = lock.packages.iter().map(Into::into).collect();
        digests.boot_packages = lock.boot_packages.iter().map(Into::into).collect();
        digests.tools = lock.tools.packages.iter().map(Into::into).collect();
        Ok(Inputs {
            recipe,
            lock,
            entries,
            overlays,
            programs,
            formats,
            digests,
        })
    }

    /// What os-release says as BUILD_ID: follows from every input.
    pub(crate) fn build_id(&self) -> String {
        let listed = serde_json::to_vec(&self.digests).expect("digests are plain data");
        Key::new("build id").with(&listed).hex()[..16].to_owned()
    }

    /// PID 1, which is in the initramfs too.
    pub(crate) fn init(&self) -> &[u8] {
        self.programs
            .iter()
            .find(|(path, _)| *path == path::INIT)
            .map_or(&[], |(_, content)| content)
    }
}

fn read_lock(
    request: &BuildRequest,
    recipe: &Recipe,
    digests: &mut manifest::Inputs,
) -> Result<Lock, Error> {
    let path = request
        .lock
        .clone()
        .unwrap_or_else(|| request.recipe.with_extension("lock"));
    let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Input(format!(
            "{} is not there: `bedplate lock {}` writes it",
            path.display(),
            request.recipe.display()
        )),
        _ => Error::File {
            action: "read",
            path: path.clone(),
            source,
        },
    })?;
    digests.lock = sha256(text.as_bytes());
    let shown = path.display().to_string();
    let lock = Lock::parse(&shown, &text).map_err(|error| Error::Input(error.to_string()))?;
    lock.fits(recipe)
        .map_err(|message| Error::Input(format!("{shown}: {message}")))?;
    if Architecture::from_machine(std::env::consts::ARCH) != Some(lock.tools.architecture) {
        return Err(Error::Input(format!(
            "{shown}: its tools are for {} machines, this one is {}: lock again on this machine",
            lock.tools.architecture,
            std::env::consts::ARCH
        )));
    }
    Ok(lock)
}

fn read_overlays(
    recipe: &Path,
    folders: &[PathBuf],
    digests: &mut manifest::Inputs,
) -> Result<Vec<(String, Vec<overlay::Entry>)>, Error> {
    let mut overlays = Vec::new();
    for folder in folders {
        let name = relative(folder, recipe).map_err(Error::file("find", folder))?;
        let entries = overlay::read(folder)?;
        digests
            .overlays
            .extend(entries.iter().map(|entry| overlay_entry(&name, entry)));
        let shown = folder.file_name().unwrap_or_default().to_string_lossy();
        overlays.push((format!("overlay {shown}"), entries));
    }
    Ok(overlays)
}

fn overlay_entry(overlay: &str, entry: &overlay::Entry) -> manifest::OverlayEntry {
    let (kind, content): (_, &[u8]) = match &entry.kind {
        Kind::File(content) => ("file", content),
        Kind::Symlink(target) | Kind::HardLink(target) => ("link", target.as_bytes()),
        Kind::Folder => ("folder", b""),
    };
    manifest::OverlayEntry {
        overlay: overlay.to_owned(),
        path: entry.path.clone(),
        kind,
        mode: format!("{:o}", entry.mode),
        sha256: sha256(content),
    }
}

fn read_programs(
    request: &BuildRequest,
    digests: &mut manifest::Inputs,
) -> Result<Vec<(&'static str, Bytes)>, Error> {
    let programs: [(&'static str, &PathBuf); 3] = [
        (path::INIT, &request.programs.init),
        (path::SERVICES, &request.programs.services),
        (path::CLUSTER, &request.programs.cluster),
    ];
    let mut read = Vec::new();
    for (target, source) in programs {
        let content = fs::read(source).map_err(Error::file("read", source))?;
        digests.programs.insert(target.to_owned(), sha256(&content));
        read.push((target, Bytes::from(content)));
    }
    Ok(read)
}

/// SHA-256 in hex.
pub(crate) fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// How `path` is reached from the folder of `recipe`, by their names alone: `base.toml`, `../overlays/base`.
fn relative(path: &Path, recipe: &Path) -> std::io::Result<String> {
    let (path, recipe) = (names(path)?, names(recipe)?);
    let folder = &recipe[..recipe.len().saturating_sub(1)];
    let shared = path.iter().zip(folder).take_while(|(a, b)| a == b).count();
    let up = folder[shared..].iter().map(|_| "..");
    let down = path[shared..].iter().map(String::as_str);
    Ok(up.chain(down).collect::<Vec<_>>().join("/"))
}

/// The names from the file system's root down to a path.
fn names(path: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for part in std::path::absolute(path)?.components() {
        match part {
            Component::ParentDir => drop(names.pop()),
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipes(below: &Path, folders: [&str; 2]) -> Vec<manifest::OverlayEntry> {
        for (folder, content) in folders.iter().zip(["lower", "upper"]) {
            let folder = below.join(folder).join("etc");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("conf"), content).unwrap();
        }
        let mut digests = manifest::Inputs::default();
        let folders = folders.map(|folder| below.join(folder));
        read_overlays(&below.join("recipes/x.toml"), &folders, &mut digests).unwrap();
        digests.overlays
    }

    #[test]
    fn files_of_one_name_in_two_overlays_of_one_name_are_both_listed() {
        let folder = tempfile::tempdir().unwrap();
        let found = recipes(folder.path(), ["recipes/files", "ours/files"]);
        let listed: Vec<_> = found
            .iter()
            .map(|entry| (entry.overlay.as_str(), entry.path.as_str(), entry.kind))
            .collect();
        assert_eq!(
            listed,
            [
                ("files", "etc", "folder"),
                ("files", "etc/conf", "file"),
                ("../ours/files", "etc", "folder"),
                ("../ours/files", "etc/conf", "file"),
            ]
        );
        assert_ne!(found[1].sha256, found[3].sha256);
    }

    #[test]
    fn two_checkouts_list_the_same() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = ["overlays/base", "overlays/debug"];
        assert_eq!(recipes(one.path(), folders), recipes(two.path(), folders));
    }

    #[test]
    fn a_path_is_told_from_the_recipe_s_folder() {
        for (path, recipe, told) in [
            ("/a/recipes/node.toml", "/a/recipes/node.toml", "node.toml"),
            ("recipes/../base.toml", "./recipes/x.toml", "../base.toml"),
            ("/b/base.toml", "/a/recipes/x.toml", "../../b/base.toml"),
        ] {
            assert_eq!(relative(Path::new(path), Path::new(recipe)).unwrap(), told);
        }
    }
}
