//! Everything a build reads, read once, with its digest: what the manifest lists and what decides whether anything
//! changed since the last build.

use std::fs;
use std::path::{Path, PathBuf};

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
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            digests.recipes.insert(name, sha256(text.as_bytes()));
            Ok(text)
        })
        .map_err(|error| Error::Input(error.to_string()))?;
        let lock = read_lock(request, &recipe, &mut digests)?;
        let entries = Entries::read(&recipe)?;
        let overlays = read_overlays(&recipe, &mut digests)?;
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
    recipe: &Recipe,
    digests: &mut manifest::Inputs,
) -> Result<Vec<(String, Vec<overlay::Entry>)>, Error> {
    let mut overlays = Vec::new();
    for folder in &recipe.overlays {
        let name = format!("overlay {}", file_name(folder));
        let entries = overlay::read(folder)?;
        for entry in &entries {
            let (kind, content): (_, &[u8]) = match &entry.kind {
                Kind::File(content) => ("file", content),
                Kind::Symlink(target) | Kind::HardLink(target) => ("link", target.as_bytes()),
                Kind::Folder => ("folder", b""),
            };
            let line = format!("{kind} {:o} {}", entry.mode, sha256(content));
            digests
                .overlays
                .insert(format!("{}/{}", file_name(folder), entry.path), line);
        }
        overlays.push((name, entries));
    }
    Ok(overlays)
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

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
