//! Unit files of this machine, seen as a node would see them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use spec_unit::finding::Finding;
use spec_unit::load::{EntryKind, FOLDERS, UnitSource};
use spec_unit::name::UnitName;
use spec_unit::parse::MAX_FILE;

use crate::exit::{Context, Error};

/// A root folder, or one folder of unit files, which then stands for the packages' folder.
#[derive(Debug)]
pub(crate) struct Source {
    /// Links of a root lead to what is in it, as on the node.
    root: Option<PathBuf>,
    /// A folder of the node and the folder here.
    folders: Vec<(&'static str, PathBuf)>,
}

/// Some units of a source.
pub(crate) struct Units {
    pub(crate) source: Source,
    pub(crate) names: Vec<String>,
}

impl Units {
    /// A unit file; a folder of such files; or a root, such as an unpacked package.
    pub(crate) fn at(path: &Path) -> Result<Self, Error> {
        let kind = std::fs::metadata(path).context(format!("cannot read {}", path.display()))?;
        if !kind.is_dir() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            UnitName::parse(&name).map_err(|why| {
                Error::Failed(format!("{} is no unit file: {why}", path.display()))
            })?;
            let folder = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            return Ok(Self {
                source: Source::folder(folder.unwrap_or(Path::new("."))),
                names: vec![name.into_owned()],
            });
        }
        let root = Source::root(path);
        let source = if root.folders.is_empty() {
            Source::folder(path)
        } else {
            root
        };
        let mut names: Vec<String> = Vec::new();
        for (folder, here) in &source.folders {
            let entries = source
                .list(folder)
                .context(format!("cannot read {}", here.display()))?;
            let units = entries
                .into_iter()
                .filter(|(name, kind)| *kind != EntryKind::Folder && UnitName::parse(name).is_ok());
            names.extend(units.map(|(name, _)| name));
        }
        names.sort();
        names.dedup();
        if names.is_empty() {
            return Err(Error::Failed(format!(
                "{} holds no unit file, nor does {} below it",
                path.display(),
                FOLDERS.join(", ")
            )));
        }
        Ok(Self { source, names })
    }
}

impl Source {
    fn folder(folder: &Path) -> Self {
        Self {
            root: None,
            folders: FOLDERS
                .last()
                .map(|last| (*last, folder.to_owned()))
                .into_iter()
                .collect(),
        }
    }

    /// Those of the node's folders that are below `root`; of an older package also /lib/systemd/system.
    fn root(root: &Path) -> Self {
        let below = |folder: &str| root.join(folder.trim_start_matches('/'));
        let mut folders: Vec<(&'static str, PathBuf)> = FOLDERS
            .iter()
            .map(|folder| (*folder, below(folder)))
            .collect();
        if let Some(last) = FOLDERS.last() {
            let unmerged = (*last, below("/lib/systemd/system"));
            let merged = folders.last().is_some_and(|(_, here)| here.is_dir());
            folders.extend((!merged).then_some(unmerged));
        }
        folders.retain(|(_, here)| here.is_dir());
        Self {
            root: Some(root.to_owned()),
            folders,
        }
    }

    /// A path of the node as it is here.
    fn here(&self, path: &str) -> Option<PathBuf> {
        let mut found = self.folders.iter().filter_map(|(folder, here)| {
            let rest = path.strip_prefix(folder)?;
            (rest.is_empty() || rest.starts_with('/'))
                .then(|| here.join(rest.trim_start_matches('/')))
        });
        found.next()
    }

    /// A finding with the file's name here.
    pub(crate) fn localised(&self, mut finding: Finding) -> Finding {
        if let Some(here) = self.here(&finding.at.file) {
            finding.at.file = here.display().to_string();
        }
        finding
    }
}

impl UnitSource for Source {
    fn list(&self, folder: &str) -> Result<Vec<(String, EntryKind)>, String> {
        let Some(here) = self.here(folder).filter(|here| here.is_dir()) else {
            return Ok(Vec::new());
        };
        let told = |error: std::io::Error| format!("{}: {error}", here.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&here).map_err(told)? {
            let entry = entry.map_err(told)?;
            let kind = entry.file_type().map_err(told)?;
            let kind = match () {
                () if kind.is_symlink() => EntryKind::Link,
                () if kind.is_dir() => EntryKind::Folder,
                () => EntryKind::File,
            };
            // A name that is not text is no unit's.
            if let Ok(name) = entry.file_name().into_string() {
                found.push((name, kind));
            }
        }
        Ok(found)
    }

    fn link(&self, path: &str) -> Result<String, String> {
        let here = self.here(path).unwrap_or_else(|| path.into());
        let target = std::fs::read_link(&here);
        let target = target.map_err(|error| format!("{}: {error}", here.display()))?;
        Ok(target.to_string_lossy().into_owned())
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(here) = self.here(path) else {
            return Ok(None);
        };
        let told = |error: std::io::Error| format!("{}: {error}", here.display());
        let file = match self.open(&here) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return match here.is_symlink() {
                    true => Err(format!("{} links to nothing", here.display())),
                    false => Ok(None),
                };
            }
            Err(error) => return Err(told(error)),
        };
        if here.is_symlink() && !file.metadata().map_err(told)?.is_file() {
            // A mask, /dev/null.
            return Ok(None);
        }
        if !file.metadata().map_err(told)?.is_file() {
            return Err(format!("{} is no file", here.display()));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(told)?;
        Ok(Some(bytes))
    }
}

impl Source {
    /// Opens a file, without waiting for the other end of a pipe.
    fn open(&self, here: &Path) -> std::io::Result<std::fs::File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let below = self
            .root
            .as_deref()
            .and_then(|root| Some((root, here.strip_prefix(root).ok()?)));
        let file = match below {
            Some((root, path)) => {
                let root = rustix::fs::open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?
            }
            None => rustix::fs::open(here, flags, Mode::empty())?,
        };
        Ok(file.into())
    }
}
