//! A suite's signed metadata: InRelease and the indexes it names, from a mirror or, offline, from the cache.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use spec_recipe::lock::LockedSuite;
use spec_recipe::{Architecture, Suite};

use crate::fetch::Fetcher;
use crate::http::Failure;
use crate::index::{self, Universe};
use crate::keyring::Keyring;
use crate::release::{self, Expected, Release};
use crate::{Error, Progress, prune};

/// A suite whose Release was verified.
#[derive(Debug)]
pub(crate) struct Opened {
    suite: Suite,
    release: Release,
    /// The address that has it; offline none.
    address: Option<String>,
}

/// How suites are opened: whose signatures count, and the time.
pub(crate) struct Trust<'a> {
    pub(crate) keyring: &'a dyn Fn(&str) -> Result<Keyring, String>,
    pub(crate) now: SystemTime,
    /// Dates that the lock has seen.
    pub(crate) seen: &'a [LockedSuite],
}

/// Fetches and verifies a suite's InRelease.
pub(crate) fn open(fetcher: &Fetcher, suite: &Suite, trust: &Trust) -> Result<Opened, Error> {
    let keyring = (trust.keyring)(&suite.name).map_err(Error::Input)?;
    let cached = fetcher.cache.join("lists/inrelease").join(&suite.name);
    let (bytes, address) = match fetcher.offline {
        true => {
            let hint = || {
                format!(
                    "suite {} was never fetched and --offline forbids the network: run once without --offline",
                    suite.name
                )
            };
            (fs::read(&cached).map_err(|_| Error::Input(hint()))?, None)
        }
        false => inrelease(fetcher, &suite.name)?,
    };
    let seen = trust
        .seen
        .iter()
        .find(|seen| seen.name == suite.name)
        .map(|seen| seen.date);
    let expected = Expected {
        suite: &suite.name,
        not_before: seen,
        now: trust.now,
    };
    let from = match &address {
        Some(address) => format!("{address}/dists/{}/InRelease", suite.name),
        None => cached.display().to_string(),
    };
    let release = release::verify(&bytes, &keyring, &expected)
        .map_err(|message| Error::Input(format!("{from} {message}")))?;
    if address.is_some() {
        keep(&cached, &bytes)?;
    }
    Ok(Opened {
        suite: suite.clone(),
        release,
        address,
    })
}

/// The InRelease of the first mirror that has the suite.
fn inrelease(fetcher: &Fetcher, suite: &str) -> Result<(Vec<u8>, Option<String>), Error> {
    let addresses = fetcher.mirrors.for_suite(suite)?;
    let mut failures = Vec::new();
    for address in &addresses {
        match fetcher.client.get_whole(
            &format!("{address}/dists/{suite}/InRelease"),
            release::BYTES_MAX,
            fetcher.retry,
        ) {
            Ok(bytes) => {
                fetcher.mirrors.remember(suite, address);
                return Ok((bytes, Some(address.clone())));
            }
            Err(Failure::NotFound) => failures.push(format!("{address} does not have it")),
            Err(Failure::Other(message)) => failures.push(message),
        }
    }
    Err(Error::Network(format!(
        "no mirror gives suite {suite}: {}; name another with {} or \"mirror\" in the recipe",
        failures.join("; "),
        crate::mirror::VARIABLE
    )))
}

impl Opened {
    /// What the lock keeps of it.
    pub(crate) fn locked(&self) -> LockedSuite {
        LockedSuite {
            name: self.suite.name.clone(),
            date: self.release.date,
        }
    }

    /// Adds this suite's packages for `architecture`.
    pub(crate) fn add_to(
        &self,
        universe: &mut Universe,
        architecture: Architecture,
        fetcher: &Fetcher,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        for component in &self.suite.components {
            let paths = index::paths(component, architecture);
            let named = paths
                .iter()
                .find_map(|path| self.release.files.get(path).map(|file| (path, file)));
            let (path, (size, sha256)) = named.ok_or_else(|| {
                Error::Input(format!(
                    "suite {} has no component \"{component}\" for {architecture}",
                    self.suite.name
                ))
            })?;
            if *size > index::PACKED_BYTES_MAX {
                return Err(Error::Input(format!(
                    "suite {}: {path} has {size} bytes, more than is taken",
                    self.suite.name
                )));
            }
            let packed = self.index(path, *size, sha256, fetcher, progress)?;
            let wrong =
                |message| Error::Input(format!("suite {}: {path} {message}", self.suite.name));
            let text = index::unpack(path, &packed).map_err(wrong)?;
            universe.add(&self.suite.name, &text).map_err(wrong)?;
        }
        Ok(())
    }

    /// An index's bytes, checked: from the cache, under its hash, or under its name.
    fn index(
        &self,
        path: &str,
        size: u64,
        sha256: &str,
        fetcher: &Fetcher,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, Error> {
        let cached = fetcher.cache.join("lists/sha256").join(sha256);
        let good = |bytes: &[u8]| {
            bytes.len() as u64 == size && hex::encode(Sha256::digest(bytes)) == sha256
        };
        if let Some(bytes) = fs::read(&cached).ok().filter(|bytes| good(bytes)) {
            prune::used(&cached);
            return Ok(bytes);
        }
        let Some(address) = &self.address else {
            return Err(Error::Input(format!(
                "{path} of suite {} is not in the cache and --offline forbids the network",
                self.suite.name
            )));
        };
        let step = format!("fetch the packages of {}", self.suite.name);
        progress.begin(&step, Some(size));
        let base = format!("{address}/dists/{}", self.suite.name);
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let by_hash = self
            .release
            .by_hash
            .then(|| format!("{base}/{folder}/by-hash/SHA256/{sha256}"));
        let mut last = format!("{base}/{path} is gone");
        for url in by_hash.into_iter().chain([format!("{base}/{path}")]) {
            match fetcher.client.get_whole(&url, size, fetcher.retry) {
                Ok(bytes) if good(&bytes) => {
                    keep(&cached, &bytes)?;
                    progress.end(&step, &format!("{size} bytes"));
                    return Ok(bytes);
                }
                Ok(_) => {
                    last = format!(
                        "{url} is not what the signed Release names (size or SHA-256): the mirror is being updated, or it was changed on the way; try again"
                    )
                }
                Err(Failure::NotFound) => {}
                Err(Failure::Other(message)) => last = message,
            }
        }
        Err(Error::Network(last))
    }
}

/// Writes a file of the cache whole or not at all.
fn keep(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    replace(path, bytes)
}

/// Writes a file under another name and renames it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(Error::file("write", path))
}
