//! What earlier builds worked out, by the hash of what it was worked out from and of the builder that did.
//!
//! A cache is never trusted further than its key: an entry carries its own digest, and one that does not match is
//! as good as none. Losing the cache costs time only; failing to write it is not an error.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::prune;

/// Changes whenever this builder may work anything out in another way: a digest of its sources, from `build.rs`.
const BUILDER: &str = env!("BEDPLATE_BUILDER");
/// Bytes of the digest before an entry.
const DIGEST: usize = 32;

/// Where the inputs of one step are gathered.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    step: &'static str,
    digest: Sha256,
}

impl Key {
    /// A key for the results of `step`.
    pub(crate) fn new(step: &'static str) -> Key {
        Key {
            step,
            digest: Sha256::new(),
        }
        .with(step.as_bytes())
    }

    /// Adds one input.
    pub(crate) fn with(mut self, input: &[u8]) -> Key {
        self.add(input);
        self
    }

    /// Adds one input.
    pub(crate) fn add(&mut self, input: &[u8]) {
        self.digest.update((input.len() as u64).to_le_bytes());
        self.digest.update(input);
    }

    /// The key in hex.
    pub(crate) fn hex(&self) -> String {
        hex::encode(self.digest.clone().finalize())
    }
}

/// The folder of the cache, or none.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: Option<PathBuf>,
    builder: &'static str,
}

impl Cache {
    /// A cache in this folder, which need not exist.
    pub(crate) fn open(folder: &Path) -> Cache {
        Cache {
            folder: Some(folder.to_path_buf()),
            builder: BUILDER,
        }
    }

    /// No cache: nothing is found, nothing is kept.
    pub(crate) fn none() -> Cache {
        Cache {
            folder: None,
            builder: BUILDER,
        }
    }

    /// Whether anything is kept.
    pub(crate) fn keeps(&self) -> bool {
        self.folder.is_some()
    }

    /// What was kept under the key.
    pub(crate) fn get(&self, key: &Key) -> Option<Bytes> {
        let path = self.path(key)?;
        let content = Bytes::from(fs::read(&path).ok()?);
        let (digest, body) = content.split_at_checked(DIGEST)?;
        let good = Sha256::digest(body)[..] == *digest;
        good.then(|| {
            prune::used(&path);
            content.slice(DIGEST..)
        })
    }

    /// Keeps something under the key.
    pub(crate) fn put(&self, key: &Key, content: &[u8]) {
        if let Some(path) = self.path(key) {
            // A full or read-only disk costs the next build time, not this one its result.
            let _ = keep(&path, content);
        }
    }

    fn path(&self, key: &Key) -> Option<PathBuf> {
        let name = key.clone().with(self.builder.as_bytes()).hex();
        Some(self.folder.as_ref()?.join(key.step).join(name))
    }
}

fn keep(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&Sha256::digest(content))?;
    file.write_all(content)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_found_and_what_was_spoilt_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path());
        let key = Key::new("test").with(b"a").with(b"bc");
        assert_eq!(cache.get(&key), None);
        cache.put(&key, b"content");
        assert_eq!(cache.get(&key).unwrap(), "content");
        assert_eq!(
            cache.get(&Key::new("test").with(b"ab").with(b"c")),
            None,
            "inputs do not run together"
        );

        let upgraded = Cache {
            builder: "another",
            ..cache.clone()
        };
        assert_eq!(upgraded.get(&key), None, "another builder asks for itself");

        let path = cache.path(&key).unwrap();
        let mut spoilt = fs::read(&path).unwrap();
        *spoilt.last_mut().unwrap() ^= 1;
        fs::write(&path, spoilt).unwrap();
        assert_eq!(cache.get(&key), None);
        assert_eq!(Cache::none().get(&key), None);
    }
}
