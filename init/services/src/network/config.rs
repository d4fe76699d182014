//! Reading the network part of the machine config, written by `services node config`.

use std::io;
use std::path::Path;

use spec_config::Network;

/// Largest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// The config, or the empty one (DHCPv4 everywhere) where there is none or it cannot be used; the second value says
/// why.
pub(crate) fn read(path: &Path) -> (Network, Option<String>) {
    match try_read(path) {
        Ok(network) => (network, None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (
            Network::default(),
            Some("no machine config: DHCP on every link".into()),
        ),
        Err(error) => (
            Network::default(),
            Some(format!(
                "{}: {error}; DHCP on every link instead",
                path.display()
            )),
        ),
    }
}

/// The config once more; the error says why what was read before stays.
pub(crate) fn read_again(path: &Path) -> Result<Network, String> {
    try_read(path).map_err(|error| {
        format!(
            "{}: {error}; the network stays as it was configured before",
            path.display()
        )
    })
}

fn try_read(path: &Path) -> io::Result<Network> {
    let length = std::fs::metadata(path)?.len();
    if length > BYTES_MAX {
        return Err(io::Error::other(format!(
            "{length} bytes, at most {BYTES_MAX} are read"
        )));
    }
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_broken_file_means_dhcp_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.json");
        assert!(read(&path).1.unwrap().contains("no machine config"));
        std::fs::write(&path, "{\"links\": 3}").unwrap();
        let (network, why) = read(&path);
        assert_eq!(network, Network::default());
        assert!(why.unwrap().contains("network.json: invalid type"));
    }

    #[test]
    fn what_cannot_be_read_again_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.json");
        assert!(read_again(&path).unwrap_err().contains("stays as it was"));
        std::fs::write(&path, "{\"links\": [").unwrap();
        assert!(read_again(&path).unwrap_err().contains("network.json: EOF"));
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(read_again(&path), Ok(Network::default()));
    }

    #[test]
    fn the_written_form_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.json");
        let network = Network {
            nameservers: vec!["10.77.0.1".parse().unwrap()],
            ..Network::default()
        };
        std::fs::write(&path, serde_json::to_vec(&network).unwrap()).unwrap();
        assert_eq!(read(&path), (network, None));
    }
}
