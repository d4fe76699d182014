//! A small Debian archive for tests: packages made here, signed by a key made here, served on this machine.

use std::time::{Duration, SystemTime};

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey,
};
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, Password};
use sha2::{Digest, Sha256};

use crate::keyring::Keyring;
use crate::test_server::TestServer;

/// The time of the tests: Fri, 20 Nov 2026 12:00:00 UTC.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_176_000)
}

/// A key that signs.
pub(crate) struct Key {
    secret: SignedSecretKey,
}

impl Key {
    pub(crate) fn new() -> Self {
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let params = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .created_at(made.try_into().expect("a time"))
            .primary_user_id("Test archive <test@localhost>".into())
            .build()
            .expect("parameters");
        Key {
            secret: params.generate(rand::thread_rng()).expect("a key"),
        }
    }

    pub(crate) fn keyring(&self) -> Keyring {
        Keyring::of(SignedPublicKey::from(self.secret.clone()))
    }

    /// Signs at [`now`], whatever time the machine has.
    pub(crate) fn sign(&self, text: &str) -> String {
        let (key, none) = (&self.secret.primary_key, Password::empty());
        let sign = || {
            let mut config =
                SignatureConfig::from_key(rand::thread_rng(), key, SignatureType::Text)?;
            let made = now().try_into().expect("a time");
            config.hashed_subpackets = vec![
                Subpacket::regular(SubpacketData::SignatureCreationTime(made))?,
                Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
            ];
            CleartextSignedMessage::new(text, config, key, &none)?
                .to_armored_string(ArmorOptions::default())
        };
        sign().expect("signed")
    }
}

/// The archive.
pub(crate) struct TestArchive {
    pub(crate) server: TestServer,
    pub(crate) key: Key,
    /// Index text by architecture.
    index: std::collections::BTreeMap<String, String>,
}

impl TestArchive {
    pub(crate) fn start() -> Self {
        let index = ["amd64", "arm64"]
            .map(|name| (name.to_owned(), String::new()))
            .into();
        TestArchive {
            server: TestServer::start(),
            key: Key::new(),
            index,
        }
    }

    /// Adds a package with these files; `fields` are further lines of its paragraph.
    pub(crate) fn add(
        &mut self,
        name: &str,
        version: &str,
        architecture: &str,
        fields: &str,
        files: &[(&str, &str)],
    ) {
        let control =
            format!("Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{fields}");
        let entries: Vec<_> = files
            .iter()
            .map(|(path, text)| {
                (
                    archive::tar::Entry::file(path, 0o644),
                    text.as_bytes().to_vec(),
                )
            })
            .collect();
        let deb = archive::deb::write(&control, &[], &entries).expect("a package");
        let path = format!("pool/main/{name}_{version}_{architecture}.deb");
        let paragraph = format!(
            "{control}Filename: {path}\nSize: {}\nSHA256: {}\n\n",
            deb.len(),
            hex::encode(Sha256::digest(&deb))
        );
        self.server.put(&path, deb);
        for (known, index) in &mut self.index {
            if architecture == "all" || architecture == known {
                index.push_str(&paragraph);
            }
        }
    }

    /// Writes indexes and the signed Release of suite trixie, made `minutes` before [`now`].
    pub(crate) fn publish(&self, minutes: i64, extra: &str) {
        let mut list = String::new();
        for (architecture, index) in &self.index {
            let packed = archive::compress::xz(index.as_bytes()).expect("packed");
            let hash = hex::encode(Sha256::digest(&packed));
            let folder = format!("main/binary-{architecture}");
            list.push_str(&format!(" {hash} {} {folder}/Packages.xz\n", packed.len()));
            self.server.put(
                &format!("dists/trixie/{folder}/by-hash/SHA256/{hash}"),
                packed.clone(),
            );
            self.server
                .put(&format!("dists/trixie/{folder}/Packages.xz"), packed);
        }
        let date = time::OffsetDateTime::from(now()) - time::Duration::minutes(minutes);
        let date = date.format(time::macros::format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] UTC"
        ));
        let text = format!(
            "Codename: trixie\nDate: {}\nAcquire-By-Hash: yes\n{extra}SHA256:\n{list}",
            date.expect("a date")
        );
        self.server
            .put("dists/trixie/InRelease", self.key.sign(&text));
    }
}
