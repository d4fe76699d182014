//! What an image is to be ([`Recipe`]), what went into it ([`Lock`]) and what the maintainer scripts of its
//! packages would have done ([`PackageEntry`]).
//!
//! Principles: unknown keys are refused with file and line; a recipe is read raw (what one file says) and then
//! resolved (what the whole chain of `extends` says), two types; a lock is written in one order only, so that
//! two people's locks differ only where their inputs do. Pure: the caller reads the files.
//!
//! `docs/recipe.md` is the page for people.

mod architecture;
pub mod entry;
mod error;
pub mod lock;
mod name;
pub mod pattern;
pub mod raw;
mod recipe;
pub mod sysusers;

pub use architecture::Architecture;
pub use entry::PackageEntry;
pub use error::Error;
pub use lock::{Lock, LockedPackage};
pub use pattern::Pattern;
pub use raw::RawRecipe;
pub use recipe::{Kernel, Modules, Paths, Recipe, Suite, Units};

/// Bytes that a recipe, a lock or a package entry may have.
pub const FILE_BYTES_MAX: usize = 4 << 20;
