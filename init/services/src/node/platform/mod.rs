//! Where a machine config can come from: one file and one row per platform, asked in this order.

mod config_disk;
mod credential;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use spec_config::MAX_DOCUMENT;

/// A document as it was found; nothing is known of it but its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where, for people.
    pub(super) source: String,
    /// The document, at most [`MAX_DOCUMENT`] bytes and one.
    pub(super) document: Vec<u8>,
}

struct Platform {
    name: &'static str,
    find: fn() -> io::Result<Option<Found>>,
}

const PLATFORMS: &[Platform] = &[
    Platform {
        name: "credential",
        find: credential::find,
    },
    Platform {
        name: "config disk",
        find: config_disk::find,
    },
];

/// The first document that a platform has, and what went wrong while looking for it.
pub(super) fn find() -> (Option<Found>, Vec<String>) {
    let mut failures = Vec::new();
    for platform in PLATFORMS {
        match (platform.find)() {
            Ok(Some(found)) => return (Some(found), failures),
            Ok(None) => {}
            Err(error) => failures.push(format!("{}: {error}", platform.name)),
        }
    }
    (None, failures)
}

/// The names of all platforms, for the message that none had a document.
pub(super) fn names() -> String {
    PLATFORMS
        .iter()
        .map(|platform| platform.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Reads a file if it is there, and one byte more than a document may have: what is longer is refused later.
fn read_document(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(io::Error::new(
                error.kind(),
                format!("{}: {error}", path.display()),
            ));
        }
    };
    let mut document = Vec::new();
    file.take(MAX_DOCUMENT as u64 + 1)
        .read_to_end(&mut document)?;
    Ok(Some(document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_document_is_read_to_its_bound_only() {
        let read = read_document(Path::new("/dev/zero")).unwrap().unwrap();
        assert_eq!(read.len(), MAX_DOCUMENT + 1);
    }

    #[test]
    fn a_document_that_is_not_there_is_none() {
        assert_eq!(
            read_document(Path::new("/nonexistent/bedplate.toml")).unwrap(),
            None
        );
    }
}
