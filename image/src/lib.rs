//! From a recipe to an image, in pure steps and without root.
//!
//! recipe -> `resolve` (locked inputs) -> `tree` (a sorted root in memory) -> `fs` -> `verity` (root hash)
//! -> `uki` (hash in the command line) -> `disk` -> `format`. Each step is a function from inputs to bytes:
//! no clock, no path and no thread order reaches an artifact. Only `fetch` touches the network; owners and
//! modes never touch the host's disk; no maintainer script ever runs.

mod account;
mod apt_sources;
mod asked;
mod build;
mod cache;
mod deb822;
mod disk;
mod elf;
mod entry;
pub mod error;
mod esp;
pub mod fetch;
pub mod format;
mod fs;
mod guid;
mod http;
mod index;
mod inputs;
mod kernel;
pub mod kernel_config;
mod keyring;
pub mod lock;
mod manifest;
pub mod memory_root;
pub mod mirror;
mod numbers;
mod output;
mod overlay;
mod package;
mod packages;
mod previous;
pub mod prune;
mod relation;
mod release;
mod release_file;
mod resolve;
mod root;
mod sparse;
mod suite;
#[cfg(test)]
mod test_archive;
#[cfg(test)]
mod test_server;
pub mod tool;
mod tree;
mod trigger;
pub mod uki;
pub mod unit_files;
mod verity;

use std::path::PathBuf;

pub use error::Error;
pub use format::Format;
pub use lock::{LockOutcome, LockRequest};

/// Our own programs, static, as built for the node. Inputs by hash.
#[derive(Debug, Clone)]
pub struct Programs {
    /// PID 1 (`bedplate-init`).
    pub init: PathBuf,
    /// The node services (`bedplate-services`).
    pub services: PathBuf,
    /// The datacenter components (`bedplate-cluster`).
    pub cluster: PathBuf,
}

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// `recipes/NAME.toml`.
    pub recipe: PathBuf,
    /// The lock; `recipes/NAME.lock` beside the recipe if not given.
    pub lock: Option<PathBuf>,
    /// Folder that receives the artifacts; made if missing.
    pub out: PathBuf,
    /// Formats; the recipe's if empty.
    pub formats: Vec<Format>,
    /// Our programs.
    pub programs: Programs,
    /// Take only .debs and programs from caches.
    pub no_cache: bool,
    /// Touch no network.
    pub offline: bool,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct Build {
    /// The recipe's id.
    pub id: String,
    /// The recipe's version.
    pub version: String,
    /// Root hash of the dm-verity tree, in hex.
    pub root_hash: String,
    /// The artifacts, in the order of the formats.
    pub artifacts: Vec<Artifact>,
    /// `manifest.json`.
    pub manifest: PathBuf,
    /// Nothing had changed since the last build into this folder, so nothing was written.
    pub unchanged: bool,
}

/// One artifact.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Its format.
    pub format: Format,
    /// Its file.
    pub path: PathBuf,
    /// Its length (of a sparse file, holes included).
    pub bytes: u64,
}

/// Hears of what goes on; prints it, or does not.
pub trait Progress: Sync {
    /// A step begins; `total` in the step's own unit (bytes for downloads), if known.
    fn begin(&self, step: &str, total: Option<u64>);
    /// `done` of the total so far.
    fn advance(&self, step: &str, done: u64);
    /// The step is over; `note` says what came out.
    fn end(&self, step: &str, note: &str);
    /// Something a person must see, though the build goes on.
    fn warn(&self, message: &str);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _step: &str, _total: Option<u64>) {}
    fn advance(&self, _step: &str, _done: u64) {}
    fn end(&self, _step: &str, _note: &str) {}
    fn warn(&self, _message: &str) {}
}

/// Builds the image that the request names.
pub fn build(request: &BuildRequest, progress: &dyn Progress) -> Result<Build, Error> {
    build::run(request, progress)
}

/// Locks the packages that the recipe asks for.
pub fn lock(request: &LockRequest, progress: &dyn Progress) -> Result<LockOutcome, Error> {
    lock::run(request, progress)
}
