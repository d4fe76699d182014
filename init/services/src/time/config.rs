//! The time servers of the machine config, written by `services node config`.

use std::io;
use std::path::Path;

use spec_config::Time;

/// Largest file that is read, in bytes.
const BYTES_MAX: u64 = 1 << 16;

/// The servers; none where there is no file.
pub(crate) fn read(path: &Path) -> io::Result<Time> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Time::default()),
        Err(error) => return Err(error),
        Ok(file) if file.len() > BYTES_MAX => {
            return Err(io::Error::other(format!(
                "{} bytes, at most {BYTES_MAX} are read",
                file.len()
            )));
        }
        Ok(_) => {}
    }
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_means_no_servers_and_a_broken_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("time.json");
        assert_eq!(read(&path).unwrap(), Time::default());
        std::fs::write(&path, r#"{"servers": ["10.0.0.1"]}"#).unwrap();
        assert_eq!(read(&path).unwrap().servers.len(), 1);
        std::fs::write(&path, "{\"servers\": 3}").unwrap();
        assert!(read(&path).is_err());
    }
}
