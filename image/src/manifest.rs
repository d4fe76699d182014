//! `manifest.json` and `SHA256SUMS`: every input of an image by hash, and every file of the build.
//!
//! Nothing of the building machine is in them, so two people's manifests differ only where their inputs do.

use std::collections::BTreeMap;

use serde::Serialize;
use spec_recipe::LockedPackage;

use crate::output::Written;

/// Version of the manifest's format.
pub(crate) const SCHEMA: u32 = 2;

/// The manifest.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Manifest {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// The recipe's id.
    pub(crate) id: String,
    /// Its version.
    pub(crate) version: String,
    /// Architecture of the image.
    pub(crate) architecture: String,
    /// What os-release says as BUILD_ID.
    pub(crate) build_id: String,
    /// Seconds since 1970: the time of the image.
    pub(crate) epoch: i64,
    /// Root hash of the dm-verity tree.
    pub(crate) root_hash: String,
    /// `uname -r` of the kernel.
    pub(crate) kernel: String,
    /// The kernel's command line.
    pub(crate) command_line: String,
    /// Every input.
    pub(crate) inputs: Inputs,
    /// Every file of the build but this one and SHA256SUMS.
    pub(crate) artifacts: Vec<ArtifactEntry>,
}

/// Every input by its SHA-256.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Inputs {
    /// The recipe and what it extends, in this order.
    pub(crate) recipes: Vec<File>,
    /// The lock.
    pub(crate) lock: String,
    /// Package entries that were applied.
    pub(crate) entries: BTreeMap<String, String>,
    /// What overlays hold, in the order in which it is laid onto the root.
    pub(crate) overlays: Vec<OverlayEntry>,
    /// Our programs.
    pub(crate) programs: BTreeMap<String, String>,
    /// Packages of the root.
    pub(crate) packages: Vec<PackageEntry>,
    /// Packages that only the builder reads.
    pub(crate) boot_packages: Vec<PackageEntry>,
    /// Packages whose programs wrote bytes.
    pub(crate) tools: Vec<PackageEntry>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct File {
    /// Relative to the recipe's folder: the same in every checkout, and two files of one name stay apart.
    pub(crate) path: String,
    pub(crate) sha256: String,
}

/// A file, link or folder of an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct OverlayEntry {
    /// The overlay, relative to the recipe's folder.
    pub(crate) overlay: String,
    /// Its path in the overlay.
    pub(crate) path: String,
    pub(crate) kind: &'static str,
    /// Permission bits, octal.
    pub(crate) mode: String,
    /// Of a link the digest of its target.
    pub(crate) sha256: String,
}

/// A package.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PackageEntry {
    name: String,
    version: String,
    architecture: String,
    sha256: String,
}

impl From<&LockedPackage> for PackageEntry {
    fn from(package: &LockedPackage) -> Self {
        PackageEntry {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            sha256: package.sha256.clone(),
        }
    }
}

/// A file of the build.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ArtifactEntry {
    name: String,
    bytes: u64,
    sha256: String,
}

impl From<&Written> for ArtifactEntry {
    fn from(written: &Written) -> Self {
        ArtifactEntry {
            name: written.name.clone(),
            bytes: written.bytes,
            sha256: hex::encode(written.sha256),
        }
    }
}

impl Manifest {
    /// The file.
    pub(crate) fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest is plain data");
        text.push('\n');
        text
    }
}

/// SHA256SUMS of these files, by name, as sha256sum(1) reads it.
pub(crate) fn sums<'a>(files: impl Iterator<Item = &'a Written>) -> String {
    let by_name: BTreeMap<&str, String> = files
        .map(|file| (file.name.as_str(), hex::encode(file.sha256)))
        .collect();
    by_name
        .iter()
        .map(|(name, digest)| format!("{digest}  {name}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_sorted_by_name() {
        let file = |name: &str| Written {
            name: name.into(),
            bytes: 1,
            sha256: [0xab; 32],
        };
        let sums = sums([file("b"), file("a")].iter());
        assert_eq!(sums, format!("{0}  a\n{0}  b\n", "ab".repeat(32)));
    }
}
