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
        if let Some(stamp) = std::env::current_exe().ok().and_then(|path| stamp(&path)) {
            key.add(&serde_json::to_vec(&stamp).expect("a stamp is plain data"));
        }
        Previous {
            cache: Cache::open(folder),
            key,
        }
    }

    /// The build before, if its files are unchanged.
    pub(crate) fn unchanged(&self) -> Option<Build> {
        let record: Record = serde_json::from_slice(&self.cache.get(&self.key)?).ok()?;
        let same = record
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

    /// Remembers a build whose files are in `out`.
    pub(crate) fn remember(&self, build: &Build, out: &Path) {
        let sums = fs::read_to_string(out.join("SHA256SUMS")).unwrap_or_default();
        let names = sums
            .lines()
            .filter_map(|line| line.split_once("  "))
            .map(|(_, name)| name)
            .chain(["SHA256SUMS"]);
        let files = names.filter_map(|name| {
            let path = fs::canonicalize(out.join(name)).ok()?;
            let stamp = stamp(&path)?;
            Some((path, stamp))
        });
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
            files: files.collect(),
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
