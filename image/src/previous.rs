//! The build before: if no input changed and its files still stand there as it left them, there is nothing to do.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Key};
use crate::inputs::Inputs;
use crate::{Artifact, Build};

/// Where the build before is kept, and under which key.
#[derive(Debug)]
pub(crate) struct Previous {
    cache: Cache,
    key: Key,
}

/// What is remembered of a build.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    id: String,
    version: String,
    root_hash: String,
    artifacts: Vec<(String, PathBuf, u64)>,
    manifest: PathBuf,
    files: Vec<(PathBuf, Stamp)>,
}

/// How a file looked: changes whenever somebody writes to it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    bytes: u64,
    inode: u64,
    modified: (i64, i64),
}

impl Previous {
    /// The build before of these inputs into `out`, by this very builder.
    pub(crate) fn new(folder: &Path, inputs: &Inputs, out: &Path) -> Previous {
        let digests = serde_json::to_vec(&inputs.digests).expect("digests are plain data");
        let out = std::path::absolute(out).unwrap_or_else(|_| out.to_path_buf());
        let mut key = Key::new("result")
            .with(&digests)
            .with(out.as_os_str().as_encoded_bytes());
        for format in &inputs.formats {
            key.add(format.name().as_bytes());
        }
        Previous {
            cache: Cache::open(folder),
            key,
        }
    }

    /// The build before, if its files are unchanged.
    pub(crate) fn unchanged(&self) -> Option<Build> {
        let record: Record = serde_json::from_slice(&self.cache.get(&self.key)?).ok()?;
        // A build has a manifest at least: a record of no file says nothing.
        let same = !record.files.is_empty()
            && record
                .files
                .iter()
                .all(|(path, seen)| stamp(path).as_ref() == Some(seen));
        let artifact = |(format, path, bytes): (String, PathBuf, u64)| {
            Some(Artifact {
                format: format.parse().ok()?,
                path,
                bytes,
            })
        };
        same.then_some(Build {
            id: record.id,
            version: record.version,
            root_hash: record.root_hash,
            artifacts: record
                .artifacts
                .into_iter()
                .map(artifact)
                .collect::<Option<_>>()?,
            manifest: record.manifest,
            unchanged: true,
        })
    }

    /// Remembers a build whose files, which have these names, are in `out`. To be called while nobody else writes there.
    pub(crate) fn remember<'a>(
        &self,
        build: &Build,
        out: &Path,
        names: impl Iterator<Item = &'a str>,
    ) {
        let files = names.map(|name| {
            let path = fs::canonicalize(out.join(name)).ok()?;
            let stamp = stamp(&path)?;
            Some((path, stamp))
        });
        // A file that is gone already: the next build is to look for itself.
        let Some(files) = files.collect::<Option<Vec<_>>>() else {
            return;
        };
        let record = Record {
            id: build.id.clone(),
            version: build.version.clone(),
            root_hash: build.root_hash.clone(),
            artifacts: build
                .artifacts
                .iter()
                .map(|artifact| {
                    (
                        artifact.format.name().to_owned(),
                        artifact.path.clone(),
                        artifact.bytes,
                    )
                })
                .collect(),
            manifest: build.manifest.clone(),
            files,
        };
        self.cache.put(
            &self.key,
            &serde_json::to_vec(&record).expect("a record is plain data"),
        );
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some(Stamp {
        bytes: meta.len(),
        inode: meta.ino(),
        modified: (meta.mtime(), meta.mtime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(out: &Path) -> Build {
        Build {
            id: "x".into(),
            version: "1".into(),
            root_hash: "00".into(),
            artifacts: Vec::new(),
            manifest: out.join("manifest.json"),
            unchanged: false,
        }
    }

    fn previous(folder: &Path) -> Previous {
        Previous {
            cache: Cache::open(&folder.join("cache")),
            key: Key::new("result"),
        }
    }

    #[test]
    fn a_build_whose_files_stand_as_they_were_is_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("manifest.json");
        fs::write(&file, "{}").unwrap();
        let previous = previous(folder.path());
        let names = ["manifest.json"].into_iter();
        previous.remember(&build(folder.path()), folder.path(), names);
        assert!(previous.unchanged().unwrap().unchanged);
        fs::write(&file, "{ }").unwrap();
        assert!(previous.unchanged().is_none());
    }

    #[test]
    fn a_build_without_files_or_with_one_gone_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let previous = previous(folder.path());
        previous.remember(&build(folder.path()), folder.path(), std::iter::empty());
        assert!(previous.unchanged().is_none());
        fs::write(folder.path().join("here"), "").unwrap();
        let names = ["here", "gone"].into_iter();
        previous.remember(&build(folder.path()), folder.path(), names);
        assert!(previous.unchanged().is_none());
    }
}
