//! The certificates of a master, signed by its own intermediates: etcd's, as files that etcd may read, and the
//! cluster program's own, in memory only.
//!
//! etcd reads its files anew at each handshake, so that a renewal needs no restart.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use client::ca::{Authority, Credentials};
use client::key_file;
use client::tls;
use client::trust::{Holder, Identity, Purpose, Root};
use spec_config::{Config, Issuer, Pem};

/// etcd's user reads its keys by the folder's group.
const FOR_ETCD: u32 = 0o640;
/// The same for the folder.
const FOLDER: u32 = 0o750;

/// Where etcd finds what it needs.
#[derive(Debug, Clone)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// One of them by its name.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// What the cluster program shows.
#[derive(Debug)]
pub(super) struct Own {
    /// At its endpoint, and to other masters.
    pub(super) master: Credentials,
    /// To etcd.
    pub(super) etcd: Credentials,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the machine config has no issuers: this node is no master")]
    NoIssuers,
    #[error("the machine config's masters list has no {0}")]
    NotListed(String),
    #[error("issuer of {root}: {error}")]
    Issuer {
        root: Root,
        error: client::ca::Error,
    },
    #[error("etcd's certificates cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Signs everything anew and writes what is etcd's.
pub(super) fn renew(config: &Config, files: &Files) -> Result<Own, Error> {
    make_folder(&files.folder)?;
    for (name, purpose) in [("peer", Purpose::EtcdPeer), ("server", Purpose::EtcdServer)] {
        let issued = issue(config, purpose)?;
        key_file::write(
            &files.path(&format!("{name}.key")),
            issued.key.as_bytes(),
            FOR_ETCD,
        )?;
        key_file::write(
            &files.path(&format!("{name}.crt")),
            issued.certificate.as_bytes(),
            FOR_ETCD,
        )?;
    }
    let stores = [
        ("peer-roots.crt", &config.trust.etcd_peer.roots),
        ("client-roots.crt", &config.trust.etcd_client.roots),
    ];
    for (name, roots) in stores {
        let bundle: String = roots.iter().map(Pem::as_str).collect();
        key_file::write(&files.path(name), bundle.as_bytes(), FOR_ETCD)?;
    }
    Ok(Own {
        master: issue(config, Purpose::Master)?,
        etcd: issue(config, Purpose::EtcdClient)?,
    })
}

/// When all of them, made at the same time, are to be made anew.
pub(super) fn renewal_time(own: &Own) -> SystemTime {
    // A certificate of our own that cannot be read is due at once.
    tls::renewal_time(&own.master.certificate).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// An intermediate of this master.
pub(super) fn authority(config: &Config, root: Root) -> Result<Authority, Error> {
    let issuers = config.trust.issuers.as_ref().ok_or(Error::NoIssuers)?;
    let issuer: &Issuer = match root {
        Root::NodeApi => &issuers.node_api,
        Root::EtcdPeer => &issuers.etcd_peer,
        Root::EtcdClient => &issuers.etcd_client,
        Root::Cluster => &issuers.cluster,
    };
    Authority::from_pem(root, issuer.certificate.as_str(), issuer.key.expose())
        .map_err(|error| Error::Issuer { root, error })
}

fn issue(config: &Config, purpose: Purpose) -> Result<Credentials, Error> {
    let name = &config.node.hostname;
    let own = config
        .own_master()
        .ok_or_else(|| Error::NotListed(name.to_string()))?;
    let holder = Holder::new(config.cluster.id.as_str(), purpose, name.as_str());
    let identity = Identity {
        holder,
        addresses: vec![own.address],
    };
    let root = purpose.root();
    authority(config, root)?
        .issue(&identity)
        .map_err(|error| Error::Issuer { root, error })
}

fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(folder)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(FOLDER))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::master::tests::cluster;

    #[test]
    fn etcd_gets_keys_that_only_it_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let config = cluster(&["127.0.0.2", "127.0.0.3"]).remove(0);
        let files = Files::new(folder.path().join("etcd"));
        let own = renew(&config, &files).unwrap();
        for name in ["peer.key", "server.key"] {
            assert_eq!(
                std::fs::metadata(files.path(name))
                    .unwrap()
                    .permissions()
                    .mode()
                    & 0o777,
                FOR_ETCD
            );
        }
        let key = std::fs::read_to_string(files.path("peer.key")).unwrap();
        let certificate = std::fs::read_to_string(files.path("peer.crt")).unwrap();
        tls::certified_key(&certificate, &key).unwrap();
        assert!(renewal_time(&own) > SystemTime::now());
        assert_eq!(
            std::fs::read_dir(folder.path().join("etcd"))
                .unwrap()
                .count(),
            6
        );
    }

    #[test]
    fn a_node_without_issuers_is_no_master() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = cluster(&["127.0.0.2"]).remove(0);
        config.trust.issuers = None;
        assert!(matches!(
            renew(&config, &Files::new(folder.path().join("x"))),
            Err(Error::NoIssuers)
        ));
    }
}
