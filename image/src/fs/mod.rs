//! The root as a file system: one file here for each.

pub(crate) mod erofs;
