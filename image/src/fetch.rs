//! Downloads: parallel, resumed, tried again, verified, kept by content.
//!
//! The only place (with `release` and `index`, which go through the same client) that touches the network. A file
//! is at `debs/sha256/HEX` in the cache only if its bytes have that hash; before, it is `HEX.part`, which a later
//! run resumes. Several builds may share the cache: a part is locked while it is written.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use sha2::{Digest, Sha256};
use spec_recipe::{LockedPackage, Recipe};

use crate::http::{Client, Failure, Retry};
use crate::mirror::Mirrors;
use crate::{Error, Progress, prune};

/// Downloads at the same time.
const PARALLEL: usize = 4;

/// A package on this machine's disk, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDeb {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// Its file name on the mirror, for messages.
    pub file: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
}

/// Brings packages into the cache.
#[derive(Debug)]
pub struct Fetcher {
    pub(crate) cache: PathBuf,
    pub(crate) mirrors: Mirrors,
    pub(crate) client: Client,
    pub(crate) retry: Retry,
    pub(crate) offline: bool,
    lock_command: String,
}

/// `$XDG_CACHE_HOME/bedplate`, or `~/.cache/bedplate`.
pub fn cache_folder() -> Result<PathBuf, Error> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("bedplate")).ok_or_else(|| {
        Error::Input(
            "neither XDG_CACHE_HOME nor HOME is set: there is no place for the cache".to_owned(),
        )
    })
}

impl Fetcher {
    /// A fetcher for a recipe; `offline` takes from the cache only.
    pub fn new(recipe: &Recipe, offline: bool) -> Result<Self, Error> {
        let file = recipe
            .sources
            .first()
            .map(|file| file.display().to_string())
            .unwrap_or_default();
        Ok(Fetcher {
            cache: cache_folder()?,
            mirrors: Mirrors::of(recipe)?,
            client: Client::new(),
            retry: Retry::default(),
            offline,
            lock_command: format!("bedplate lock {file}"),
        })
    }

    #[cfg(test)]
    pub(crate) fn for_tests(cache: &Path, mirrors: Mirrors, offline: bool) -> Self {
        let retry = Retry {
            tries: 3,
            pause: std::time::Duration::from_millis(1),
        };
        Fetcher {
            cache: cache.to_path_buf(),
            mirrors,
            client: Client::new(),
            retry,
            offline,
            lock_command: "bedplate lock x.toml".into(),
        }
    }

    /// Every package of `wanted`, in its order, verified.
    pub fn packages(
        &self,
        wanted: &[LockedPackage],
        progress: &dyn Progress,
    ) -> Result<Vec<LocalDeb>, Error> {
        let folder = self.cache.join("debs/sha256");
        fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        let work = Work {
            fetcher: self,
            wanted,
            folder,
            next: AtomicUsize::new(0),
            done: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            errors: Mutex::default(),
            progress,
        };
        progress.begin(STEP, Some(wanted.iter().map(|package| package.size).sum()));
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(wanted.len()) {
                scope.spawn(|| work.run());
            }
        });
        let mut errors = work.errors.into_inner().unwrap_or_default();
        errors.sort_by_key(|(at, _)| *at);
        let gone: Vec<String> = errors
            .iter()
            .filter_map(|(_, error)| {
                if let Error::Gone(message) = error {
                    Some(message.clone())
                } else {
                    None
                }
            })
            .collect();
        if let Some((_, other)) = errors
            .into_iter()
            .find(|(_, error)| !matches!(error, Error::Gone(_)))
        {
            return Err(other);
        }
        if !gone.is_empty() {
            return Err(Error::Gone(gone.join("\n")));
        }
        progress.end(STEP, &format!("{} packages", wanted.len()));
        Ok(wanted
            .iter()
            .map(|package| local(&work.folder, package))
            .collect())
    }
}

/// The step's name towards [`Progress`].
const STEP: &str = "fetch packages";

fn local(folder: &Path, package: &LockedPackage) -> LocalDeb {
    LocalDeb {
        name: package.name.clone(),
        version: package.version.clone(),
        architecture: package.architecture.clone(),
        file: package
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned(),
        path: folder.join(&package.sha256),
        sha256: package.sha256.clone(),
        size: package.size,
    }
}

/// One run over a list of packages by several threads.
struct Work<'a> {
    fetcher: &'a Fetcher,
    wanted: &'a [LockedPackage],
    folder: PathBuf,
    next: AtomicUsize,
    done: AtomicU64,
    stop: AtomicBool,
    errors: Mutex<Vec<(usize, Error)>>,
    progress: &'a dyn Progress,
}

impl Work<'_> {
    fn run(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(package) = self.wanted.get(at) else {
                return;
            };
            if let Err(error) = self.one(package) {
                // All that the mirror has dropped is told at once; anything else ends the run.
                if !matches!(error, Error::Gone(_)) {
                    self.stop.store(true, Ordering::Relaxed);
                }
                if let Ok(mut errors) = self.errors.lock() {
                    errors.push((at, error));
                }
            }
        }
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.progress.advance(STEP, done);
    }

    /// Counts a package's bytes up, or down where a part begins anew.
    fn count(&self, counted: &mut u64, at: u64) {
        if at < *counted {
            self.done.fetch_sub(*counted - at, Ordering::Relaxed);
        } else {
            self.advance(at - *counted);
        }
        *counted = at;
    }

    /// One package: from the cache, else from the mirrors.
    fn one(&self, package: &LockedPackage) -> Result<(), Error> {
        let path = self.folder.join(&package.sha256);
        if self.cached(&path, package)? {
            self.advance(package.size);
            return Ok(());
        }
        if self.fetcher.offline {
            return Err(Error::Input(format!(
                "{} {} is not in the cache and --offline forbids the network: run once without --offline",
                package.name, package.version
            )));
        }
        let part_path = self.folder.join(format!("{}.part", package.sha256));
        let part = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part_path);
        let mut part = part.map_err(Error::file("open", &part_path))?;
        // Another build may be fetching it: wait for that one.
        rustix::fs::flock(&part, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| Error::file("lock", &part_path)(error.into()))?;
        if self.cached(&path, package)? {
            self.advance(package.size);
            return Ok(());
        }
        self.download(package, &mut part, &part_path)?;
        fs::rename(&part_path, &path).map_err(Error::file("write", &path))
    }

    /// Whether the file is there with the right bytes; one with wrong bytes is removed.
    fn cached(&self, path: &Path, package: &LockedPackage) -> Result<bool, Error> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        let (size, sha256) = hash(&mut file).map_err(Error::file("read", path))?;
        if size == package.size && sha256 == package.sha256 {
            prune::used(path);
            return Ok(true);
        }
        self.progress.warn(&format!(
            "the cached {} was damaged and is fetched again",
            package.name
        ));
        fs::remove_file(path).map_err(Error::file("remove", path))?;
        Ok(false)
    }

    /// Tries each mirror, then the archive mirror.
    fn download(
        &self,
        package: &LockedPackage,
        part: &mut File,
        part_path: &Path,
    ) -> Result<(), Error> {
        let mirrors = &self.fetcher.mirrors;
        let mut addresses = mirrors.for_suite(&package.suite)?;
        addresses.extend(mirrors.archives(&package.suite));
        let mut last = None;
        for address in &addresses {
            match self.from(address, package, part, part_path) {
                Ok(()) => {
                    mirrors.remember(&package.suite, address);
                    return Ok(());
                }
                Err(Refused::NotFound) => {}
                Err(Refused::Disk(error)) => return Err(error),
                Err(Refused::Failed(message)) => last = Some(message),
            }
        }
        match last {
            Some(message) => Err(Error::Network(format!(
                "{} {}: {message}",
                package.name, package.version
            ))),
            None => Err(Error::Gone(format!(
                "{} {} ({}) is no longer on the mirror: lock again with `{}`, or name an archive_mirror in the recipe",
                package.name, package.version, package.path, self.fetcher.lock_command
            ))),
        }
    }

    /// From one address, with resuming and trying again.
    fn from(
        &self,
        address: &str,
        package: &LockedPackage,
        part: &mut File,
        part_path: &Path,
    ) -> Result<(), Refused> {
        let url = format!("{address}/{}", package.path);
        let disk = |error| Refused::Disk(Error::file("write", part_path)(error));
        let mut failed = 0;
        let mut restarted = false;
        let mut counted = 0;
        loop {
            let had = part.metadata().map_err(disk)?.len();
            let outcome = if had < package.size {
                self.attempt(&url, package, part, part_path, &mut counted)
            } else {
                Ok(())
            };
            let has = part.metadata().map_err(disk)?.len();
            let message = match outcome {
                Ok(()) => {
                    part.seek(SeekFrom::Start(0)).map_err(disk)?;
                    let (size, sha256) = hash(part).map_err(disk)?;
                    if size == package.size && sha256 == package.sha256 {
                        return part.sync_all().map_err(disk);
                    }
                    part.set_len(0).map_err(disk)?;
                    self.count(&mut counted, 0);
                    // A resumed part may be what was wrong: one more try from its beginning.
                    if restarted {
                        return Err(Refused::Failed(format!(
                            "{url} is not the file that was locked (SHA-256 {sha256}, locked {}): the mirror or the way to it changed it",
                            package.sha256
                        )));
                    }
                    restarted = true;
                    continue;
                }
                Err(Refused::Failed(message)) => message,
                Err(other) => return Err(other),
            };
            failed = if has > had { 1 } else { failed + 1 };
            if failed >= self.fetcher.retry.tries {
                return Err(Refused::Failed(message));
            }
            std::thread::sleep(self.fetcher.retry.pause_after(failed));
        }
    }

    /// One request: appends what comes to the part.
    fn attempt(
        &self,
        url: &str,
        package: &LockedPackage,
        part: &mut File,
        part_path: &Path,
        counted: &mut u64,
    ) -> Result<(), Refused> {
        let disk = |error| Refused::Disk(Error::file("write", part_path)(error));
        let had = part.metadata().map_err(disk)?.len();
        let answer = self
            .fetcher
            .client
            .get(url, had)
            .map_err(|failure| match failure {
                Failure::NotFound => Refused::NotFound,
                Failure::Other(message) => Refused::Failed(message),
            })?;
        let mut at = answer.begins_at;
        part.set_len(at).map_err(disk)?;
        part.seek(SeekFrom::Start(at)).map_err(disk)?;
        self.count(counted, at);
        let mut body = answer.body;
        let mut buffer = vec![0u8; 1 << 16];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) if at == package.size => return Ok(()),
                Ok(0) => {
                    return Err(Refused::Failed(format!(
                        "{url}: ended after {at} of {} bytes",
                        package.size
                    )));
                }
                Ok(count) => count,
                Err(error) => return Err(Refused::Failed(format!("{url}: {error}"))),
            };
            if at + count as u64 > package.size {
                part.set_len(0).map_err(disk)?;
                return Err(Refused::Failed(format!(
                    "{url}: more than the {} bytes that were locked",
                    package.size
                )));
            }
            part.write_all(buffer.get(..count).unwrap_or_default())
                .map_err(disk)?;
            at += count as u64;
            self.count(counted, at);
        }
    }
}

/// Why one address did not give the file.
enum Refused {
    NotFound,
    Failed(String),
    Disk(Error),
}

/// Length and SHA-256 of what is left of a file.
fn hash(file: &mut File) -> std::io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let size = std::io::copy(file, &mut hasher)?;
    Ok((size, hex::encode(hasher.finalize())))
}

#[cfg(test)]
mod tests;
