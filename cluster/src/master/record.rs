//! Keeping the [`Record`] on the state partition, beside the data it speaks of: both are lost together.

use std::io;
use std::path::Path;

use client::key_file::{self, SECRET};

use super::decide::{RECORD_VERSION, Record};
use crate::data::{self, Data};

/// Reads the record; `None` where there is none. One that cannot be read is an error and not an absence: an absent
/// one lets a new member begin.
pub(super) fn read(path: &Path) -> io::Result<Option<Record>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(io::Error::new(
                error.kind(),
                format!("{}: {error}", path.display()),
            ));
        }
    };
    let record: Record = serde_json::from_slice(&bytes).map_err(|error| {
        io::Error::other(format!(
            "{}: {error}; an older or newer image wrote it, or the disk is broken",
            path.display()
        ))
    })?;
    if record.version != RECORD_VERSION {
        let version = record.version;
        return Err(io::Error::other(format!(
            "{}: version {version}, this image knows {RECORD_VERSION}",
            path.display()
        )));
    }
    Ok(Some(record))
}

/// What became of the record's data.
pub(super) fn data(record: Option<&Record>, below: &Path) -> Data {
    record.map_or(Data::Unused, |record| {
        data::of(&below.join(record.data_folder()))
    })
}

/// Writes the record whole.
pub(super) fn write(path: &Path, record: &Record) -> io::Result<()> {
    key_file::write(path, &serde_json::to_vec_pretty(record)?, SECRET)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::decide::Mode;

    #[test]
    fn a_record_is_read_back_and_a_broken_one_is_no_absent_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("member.json");
        assert_eq!(read(&path).unwrap(), None);
        let record = Record {
            version: RECORD_VERSION,
            generation: 1,
            mode: Mode::New,
            initial_cluster: Vec::new(),
            member_id: Some(u64::MAX),
            confirmed: true,
        };
        write(&path, &record).unwrap();
        assert_eq!(read(&path).unwrap(), Some(record.clone()));
        write(
            &path,
            &Record {
                version: 2,
                ..record
            },
        )
        .unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("version 2"));
        std::fs::write(&path, b"{").unwrap();
        assert!(read(&path).is_err());
    }
}
