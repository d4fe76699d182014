//! A Debian package as the builder sees it: what it says of itself, which scripts it has, and its files.
//!
//! Unpacking a package costs far more than reading what it holds, so the files that pass the recipe's filters are
//! kept in the cache as plain tar, under a key made of the package's hash and the filters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use archive::{Limits, deb, tar};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use spec_recipe::entry::Script;

use crate::Error;
use crate::cache::{Cache, Key};
use crate::fetch::LocalDeb;
use crate::tree;

/// Path of the member that holds [`Facts`] in a cached package.
const FACTS: &str = "facts.json";

/// What a package says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Names in its Replaces: whose files it may take over.
    pub(crate) replaces: BTreeSet<String>,
    /// Its maintainer scripts.
    pub(crate) scripts: BTreeSet<Script>,
}

/// A package with its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    /// What it says of itself.
    pub(crate) facts: Facts,
    /// The files that passed the filter, with their content.
    pub(crate) files: Vec<(tar::Entry, Bytes)>,
}

/// A package that has been read with this filter before. `filter` names what passes.
pub(crate) fn cached(sha256: &str, filter: &[u8], cache: &Cache) -> Option<Package> {
    from_cache(&cache.get(&key(sha256, filter))?)
}

/// Reads a package and keeps the files that `admit` lets pass, which `filter` names.
pub(crate) fn read(
    deb: &LocalDeb,
    filter: &[u8],
    admit: &dyn Fn(&str) -> bool,
    cache: &Cache,
) -> Result<Package, Error> {
    let package =
        unpack(&deb.path, &deb.file, admit).map_err(|error| Error::Input(error.to_string()))?;
    if cache.keeps() {
        cache.put(&key(&deb.sha256, filter), &to_cache(&package));
    }
    Ok(package)
}

fn key(sha256: &str, filter: &[u8]) -> Key {
    Key::new("package").with(sha256.as_bytes()).with(filter)
}

/// Unpacks the files that pass; of hard links to a file that does not pass, the first becomes the file.
fn unpack(
    path: &Path,
    file: &str,
    admit: &dyn Fn(&str) -> bool,
) -> Result<Package, archive::Error> {
    let package = deb::read_named(path, file, &Limits::default())?;
    let facts = facts(&package.control);
    let mut reader = package.entries()?;
    let mut files = Vec::new();
    let mut dropped: BTreeMap<String, (tar::Entry, Bytes)> = BTreeMap::new();
    let mut moved: BTreeMap<String, String> = BTreeMap::new();
    while let Some(mut entry) = reader.next()? {
        if !admit(&tree::canonical(&entry.path)) {
            // Kept until the end, since a hard link to it may pass; dropped folders and links are no target.
            if entry.kind == tar::Kind::File {
                let content = reader.data()?.into();
                dropped.insert(entry.path.clone(), (entry, content));
            }
            continue;
        }
        let mut content = Bytes::new();
        match &mut entry.kind {
            tar::Kind::File => content = reader.data()?.into(),
            tar::Kind::Hardlink(target) => {
                if let Some(first) = moved.get(target) {
                    *target = first.clone();
                } else if let Some((file, data)) = dropped.get(target) {
                    moved.insert(target.clone(), entry.path.clone());
                    content = data.clone();
                    entry = tar::Entry {
                        path: entry.path,
                        ..file.clone()
                    };
                }
            }
            _ => {}
        }
        files.push((entry, content));
    }
    Ok(Package { facts, files })
}

/// What the control archive says.
fn facts(control: &deb::Control) -> Facts {
    let field = |name| control.get(name).unwrap_or_default();
    let replaces = field("Replaces")
        .split([',', '|'])
        .filter_map(|relation| relation.split_whitespace().next())
        .map(|name| name.split(':').next().unwrap_or(name).to_owned())
        .collect();
    Facts {
        name: field("Package").to_owned(),
        version: field("Version").to_owned(),
        replaces,
        scripts: control
            .files
            .keys()
            .filter_map(|name| Script::from_name(name))
            .collect(),
    }
}

fn to_cache(package: &Package) -> Vec<u8> {
    let content: usize = package
        .files
        .iter()
        .map(|(_, content)| content.len() + 1024)
        .sum();
    let mut writer = tar::Writer::new(Vec::with_capacity(content + 4096));
    let facts = serde_json::to_vec(&package.facts).expect("facts are plain data");
    let members = std::iter::once((&tar::Entry::file(FACTS, 0o644), &facts[..]))
        .chain(
            package
                .files
                .iter()
                .map(|(entry, content)| (entry, &content[..])),
        )
        .try_for_each(|(entry, content)| writer.write(entry, content));
    members.expect("memory takes every write");
    writer.finish().expect("memory takes every write")
}

/// Nothing if the cache holds something else than this builder writes.
fn from_cache(content: &Bytes) -> Option<Package> {
    let mut reader = tar::Reader::new(&content[..], "cache", &Limits::default());
    reader.next().ok()?.filter(|entry| entry.path == FACTS)?;
    let facts = serde_json::from_slice(&reader.data().ok()?).ok()?;
    let mut files = Vec::new();
    while let Some(entry) = reader.next().ok()? {
        let content = if entry.kind == tar::Kind::File {
            reader.data().ok()?.into()
        } else {
            Bytes::new()
        };
        files.push((entry, content));
    }
    Some(Package { facts, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &Path) -> std::path::PathBuf {
        let mut link = tar::Entry::file("usr/bin/link", 0o755);
        link.kind = tar::Kind::Hardlink("usr/share/doc/file".into());
        let mut capable = tar::Entry::file("usr/bin/ping", 0o755);
        capable.xattrs = vec![("security.capability".into(), vec![1, 0, 0, 2])];
        let entries = [
            (
                tar::Entry::file("usr/share/doc/file", 0o755),
                b"content".to_vec(),
            ),
            (link, Vec::new()),
            (capable, b"ping".to_vec()),
        ];
        let path = folder.join("x_1_amd64.deb");
        let control = "Package: x\nVersion: 1\nReplaces: y (<< 2), z:any | w\n";
        std::fs::write(
            &path,
            deb::write(control, &[("postinst", "#!/bin/sh\n")], &entries).unwrap(),
        )
        .unwrap();
        path
    }

    #[test]
    fn a_link_to_a_dropped_file_becomes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let admit = |path: &str| !path.starts_with("usr/share/doc");
        let read = unpack(&package(folder.path()), "x.deb", &admit).unwrap();
        assert_eq!(
            read.facts.replaces.iter().collect::<Vec<_>>(),
            ["w", "y", "z"]
        );
        assert_eq!(
            read.facts.scripts.iter().copied().collect::<Vec<_>>(),
            [Script::Postinst]
        );
        assert_eq!(read.files.len(), 2);
        assert_eq!(read.files[0].0.kind, tar::Kind::File);
        assert_eq!(read.files[0].1, "content");
    }

    #[test]
    fn a_package_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache"));
        let deb = LocalDeb {
            name: "x".into(),
            version: "1".into(),
            architecture: "amd64".into(),
            file: "x_1_amd64.deb".into(),
            path: package(folder.path()),
            sha256: "ab".repeat(32),
            size: 1,
        };
        assert_eq!(cached(&deb.sha256, b"all", &cache), None);
        let first = read(&deb, b"all", &|_| true, &cache).unwrap();
        assert_eq!(cached(&deb.sha256, b"all", &cache), Some(first));
        assert_eq!(
            cached(&deb.sha256, b"none", &cache),
            None,
            "another filter reads the package again"
        );
        assert_eq!(cached(&deb.sha256, b"all", &Cache::none()), None);
    }
}
