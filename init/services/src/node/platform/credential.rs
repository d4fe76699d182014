//! The credential `bedplate.config`: SMBIOS type 11 or fw_cfg, imported by PID 1 (systemd.system-credentials(7)).

use std::io;
use std::path::Path;

use spec_layout::path::SYSTEM_CREDENTIALS;

use super::{Found, read_document};

/// Name of the credential.
const NAME: &str = "bedplate.config";

pub(super) fn find() -> io::Result<Option<Found>> {
    find_in(Path::new(SYSTEM_CREDENTIALS))
}

fn find_in(folder: &Path) -> io::Result<Option<Found>> {
    let document = read_document(&folder.join(NAME))?;
    Ok(document.map(|document| Found {
        source: format!("credential {NAME}"),
        document,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credential_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find_in(folder.path()).unwrap(), None);
        std::fs::write(folder.path().join("bedplate.config"), b"schema = 1\n").unwrap();
        let found = find_in(folder.path()).unwrap().unwrap();
        assert_eq!(
            (found.source.as_str(), found.document.as_slice()),
            ("credential bedplate.config", &b"schema = 1\n"[..])
        );
    }
}
