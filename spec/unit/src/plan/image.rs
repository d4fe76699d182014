//! A disk image as a root, or as what is mounted at a path: a bare file system, or a GPT with a root partition.

use serde::{Deserialize, Serialize};

use super::{absolute, line};

/// Most mount options of one image.
pub const MAX_OPTIONS: usize = 64;

/// A disk image, mounted read-only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Image {
    /// Absolute path of a file or a block device.
    pub path: String,
    /// Options of mount(8) for the file system, one each: `noatime`, `errors=continue`.
    pub options: Vec<String>,
    /// The dm-verity root hash that every read of it is held to. None: what stands beside the image counts, if anything
    /// does.
    pub root_hash: Option<RootHash>,
    /// Absolute path of the dm-verity tree of an image that is a bare file system.
    pub verity: Option<String>,
}

/// Where a root hash is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootHash {
    /// Here: 64 hexadecimal digits.
    Digits(String),
    /// In the file at this absolute path, as digits.
    File(String),
}

impl Image {
    pub(super) fn check(&self, field: &str) -> Result<(), String> {
        absolute(field, &self.path)?;
        if self.options.len() > MAX_OPTIONS {
            return Err(format!("{field}: more than {MAX_OPTIONS} options"));
        }
        for option in &self.options {
            line(field, option)?;
        }
        match &self.root_hash {
            Some(RootHash::Digits(digits)) => {
                spec_layout::verity::RootHash::parse(digits)
                    .map_err(|cause| format!("{field}: {cause}"))?;
            }
            Some(RootHash::File(path)) => absolute(field, path)?,
            None => {}
        }
        self.verity
            .as_deref()
            .map_or(Ok(()), |path| absolute(field, path))
    }
}
