//! Reading and writing tar, ar, cpio and .deb files that may be hostile.
//!
//! Principles: nothing is read before it is bounded ([`Limits`]); no path leaves the archive; an archive either
//! reads whole and well-formed or is refused with a message that names the file and the member; nothing here
//! touches a file system beyond the one archive file it is given.
//!
//! The framing is our own, because the crates at hand reserve or read what a header asks for before a caller can
//! look at it; the fields of a tar header are read by the `tar` crate.
//!
//! Sources: tar(5), pax(1), ar(5), cpio(5), deb(5).

pub mod ar;
pub mod compress;
pub mod cpio;
pub mod deb;
mod error;
mod limits;
mod name;
mod pax;
pub mod tar;
mod tar_write;

pub use error::Error;
pub use limits::Limits;
