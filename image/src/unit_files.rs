//! Unit files of single Debian packages, as a recipe's mirrors have them now: to see what a node would make of them.
//!
//! Nothing is locked, built or kept but the packages in the cache. Metadata and packages are verified as for a lock;
//! relations are not followed.

use std::path::Path;
use std::time::SystemTime;

use archive::{Limits, deb, tar};
use bytes::Bytes;
use rayon::prelude::*;
use spec_recipe::{LockedPackage, Recipe};
use spec_unit::load::{EntryKind, FOLDERS, UnitSource};

use crate::fetch::{Fetcher, LocalDeb};
use crate::index::{Candidate, Universe};
use crate::keyring::Keyring;
use crate::suite::{self, Trust};
use crate::tree::{Kind, Tree, canonical};
use crate::trigger::units::Files;
use crate::{Error, Progress, lock, resolve};

/// A package with what it has in the folders of unit files.
#[derive(Debug)]
pub struct PackageUnits {
    /// Its name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The source package that it is built from.
    pub source: String,
    tree: Tree,
}

/// The packages of these names, the newest of each, in the order of the names.
///
/// Suites, architecture and mirrors are those of `recipe`. Every name that its suites do not have is told at once.
pub fn of_packages(
    recipe: &Path,
    names: &[&str],
    progress: &dyn Progress,
) -> Result<Vec<PackageUnits>, Error> {
    let recipe = lock::read_recipe(recipe)?;
    let fetcher = Fetcher::new(&recipe, false)?;
    let wanted = newest(&recipe, &fetcher, names, progress)?;
    fetcher
        .packages(&wanted, progress)?
        .par_iter()
        .map(|deb| read(deb).map_err(Error::Input))
        .collect()
}

/// The newest of each package that a recipe's suites have now.
pub(crate) fn newest(
    recipe: &Recipe,
    fetcher: &Fetcher,
    names: &[&str],
    progress: &dyn Progress,
) -> Result<Vec<LockedPackage>, Error> {
    let trust = Trust {
        keyring: &Keyring::debian,
        now: SystemTime::now(),
        seen: &[],
    };
    let mut universe = Universe::default();
    for suite in &recipe.suites {
        let opened = suite::open(fetcher, suite, &trust)?;
        opened.add_to(&mut universe, recipe.architecture, fetcher, progress)?;
    }
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for name in names {
        match resolve::newest(&universe, name).map(Candidate::locked) {
            Ok(package) => found.push(package),
            Err(message) => unknown.push(message),
        }
    }
    if unknown.is_empty() {
        Ok(found)
    } else {
        Err(Error::Inputs(unknown))
    }
}

/// Reads what a package has in the folders of unit files, drop-ins and `.wants` folders too.
fn read(deb: &LocalDeb) -> Result<PackageUnits, String> {
    let archived = |error: archive::Error| error.to_string();
    let package = deb::read_named(&deb.path, &deb.file, &Limits::default()).map_err(archived)?;
    // `Source: name (version)`; without it the source has the package's name.
    let source = package.control.get("Source").unwrap_or(&deb.name);
    let source = source.split_whitespace().next().unwrap_or(&deb.name);
    let mut tree = Tree::new(0);
    let mut entries = package.entries().map_err(archived)?;
    while let Some(entry) = entries.next().map_err(archived)? {
        if !is_of_units(&entry.path) {
            continue;
        }
        let kind = match &entry.kind {
            tar::Kind::File => Kind::File(Bytes::from(entries.data().map_err(archived)?)),
            tar::Kind::Symlink(target) => Kind::Symlink(target.clone()),
            tar::Kind::Hardlink(target) => Kind::HardLink(target.clone()),
            _ => continue,
        };
        let node = tree.own(kind, entry.mode);
        tree.add(&entry.path, node)
            .map_err(|message| format!("{}: {message}", deb.file))?;
    }
    Ok(PackageUnits {
        package: deb.name.clone(),
        version: deb.version.clone(),
        source: source.to_owned(),
        tree,
    })
}

/// Whether a package's path is below a folder of unit files.
fn is_of_units(path: &str) -> bool {
    let path = canonical(path);
    FOLDERS.iter().any(|folder| {
        path.strip_prefix(folder.trim_start_matches('/'))
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// As the builder sees the units of an image.
impl UnitSource for PackageUnits {
    fn list(&self, folder: &str) -> Result<Vec<(String, EntryKind)>, String> {
        Files(&self.tree).list(folder)
    }

    fn link(&self, path: &str) -> Result<String, String> {
        Files(&self.tree).link(path)
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        Files(&self.tree).read(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_the_old_folder_and_of_the_new_one_are_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.deb");
        let mut alias = tar::Entry::file("usr/lib/systemd/system/y.service", 0o777);
        alias.kind = tar::Kind::Symlink("x.service".into());
        let file = |path: &str| (tar::Entry::file(path, 0o644), b"[Service]\n".to_vec());
        let entries = [
            file("lib/systemd/system/x.service"),
            (alias, Vec::new()),
            file("usr/lib/systemd/system/x.service.d/a.conf"),
            file("usr/lib/systemd/user/x.service"),
            file("usr/bin/x"),
        ];
        let control = "Package: x\nSource: xs (2)\nVersion: 1\n";
        std::fs::write(&path, deb::write(control, &[], &entries).unwrap()).unwrap();
        let read = read(&LocalDeb {
            name: "x".into(),
            version: "1".into(),
            architecture: "amd64".into(),
            file: "x.deb".into(),
            path,
            sha256: String::new(),
            size: 0,
        })
        .unwrap();
        assert_eq!(read.source, "xs");
        let mut names = read.list(FOLDERS[2]).unwrap();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        let names: Vec<(&str, EntryKind)> = names
            .iter()
            .map(|(name, kind)| (name.as_str(), *kind))
            .collect();
        assert_eq!(
            names,
            [
                ("x.service", EntryKind::File),
                ("x.service.d", EntryKind::Folder),
                ("y.service", EntryKind::Link)
            ]
        );
        assert_eq!(
            read.link("/usr/lib/systemd/system/y.service").unwrap(),
            "x.service"
        );
        assert!(read.tree.get("usr/bin/x").is_none());
        assert!(read.tree.get("usr/lib/systemd/user/x.service").is_none());
    }
}
