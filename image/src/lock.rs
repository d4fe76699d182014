//! Locking: recipe -> signed metadata -> relations -> `recipes/NAME.lock`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use archive::{Limits, deb, tar};
use spec_recipe::lock::{Asked as AskedFor, LockedSuite, SCHEMA, Tools};
use spec_recipe::{Architecture, Lock, LockedPackage, Recipe};

use crate::asked::Asked;
use crate::entry::Entries;
use crate::fetch::Fetcher;
use crate::index::{Candidate, Universe};
use crate::keyring::Keyring;
use crate::suite::{self, Trust};
use crate::{Error, Progress, numbers, resolve};

/// What to lock.
#[derive(Debug, Clone)]
pub struct LockRequest {
    /// `recipes/NAME.toml`.
    pub recipe: PathBuf,
    /// Where the lock is written; `NAME.lock` beside the recipe if not given.
    pub output: Option<PathBuf>,
    /// Take metadata and packages from the cache only.
    pub offline: bool,
}

/// What was locked.
#[derive(Debug, Clone)]
pub struct LockOutcome {
    /// The lock's file.
    pub path: PathBuf,
    /// The lock.
    pub lock: Lock,
    /// What is other than in the lock before, a line each: `+ name version`, `- name version`, `name old -> new`.
    pub changes: Vec<String>,
}

/// The lock that belongs to a recipe.
pub fn beside(recipe: &Path) -> PathBuf {
    recipe.with_extension("lock")
}

/// Reads a recipe with what it extends.
pub fn read_recipe(path: &Path) -> Result<Recipe, Error> {
    Recipe::load(path, &mut |file| read_bounded(file))
        .map_err(|error| Error::Input(error.to_string()))
}

/// Reads a lock.
pub fn read_lock(path: &Path) -> Result<Lock, Error> {
    let text = read_bounded(path).map_err(Error::file("read", path))?;
    Lock::parse(&path.display().to_string(), &text).map_err(|error| Error::Input(error.to_string()))
}

/// Locks a recipe.
pub(crate) fn run(request: &LockRequest, progress: &dyn Progress) -> Result<LockOutcome, Error> {
    let recipe = read_recipe(&request.recipe)?;
    let fetcher = Fetcher::new(&recipe, request.offline)?;
    let locking = Locking {
        recipe: &recipe,
        fetcher: &fetcher,
        keyring: &Keyring::debian,
        now: SystemTime::now(),
        progress,
    };
    let path = request
        .output
        .clone()
        .unwrap_or_else(|| beside(&request.recipe));
    let old = before(&path, &beside(&request.recipe))?;
    let lock = locking.lock(old.as_ref())?;
    let changes = changes(old.as_ref(), &lock);
    suite::replace(&path, lock.to_text().as_bytes())?;
    Ok(LockOutcome {
        path,
        lock,
        changes,
    })
}

/// What was locked before: the recipe's own lock, whose numbers are on a fleet's disks, even where another file is
/// written. Of the dates that the two have seen the newest count, so that neither hides from the other that a mirror
/// went back.
fn before(path: &Path, own: &Path) -> Result<Option<Lock>, Error> {
    let read = |path: &Path| path.exists().then(|| read_lock(path)).transpose();
    let (own, other) = (read(own)?, read(path)?);
    let (Some(mut lock), Some(other)) = (own.clone(), &other) else {
        return Ok(own.or(other));
    };
    for seen in &other.suites {
        match lock.suites.iter_mut().find(|suite| suite.name == seen.name) {
            Some(suite) => suite.date = suite.date.max(seen.date),
            None => lock.suites.push(seen.clone()),
        }
    }
    Ok(Some(lock))
}

/// One locking, with all that it depends on.
pub(crate) struct Locking<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) fetcher: &'a Fetcher,
    pub(crate) keyring: &'a dyn Fn(&str) -> Result<Keyring, String>,
    pub(crate) now: SystemTime,
    pub(crate) progress: &'a dyn Progress,
}

impl Locking<'_> {
    /// The new lock; `old` gives dates and numbers.
    pub(crate) fn lock(&self, old: Option<&Lock>) -> Result<Lock, Error> {
        let recipe = self.recipe;
        let seen = old.map_or(&[][..], |old| &old.suites);
        let trust = Trust {
            keyring: self.keyring,
            now: self.now,
            seen,
        };
        let suites: Vec<_> = recipe
            .suites
            .iter()
            .map(|suite| suite::open(self.fetcher, suite, &trust))
            .collect::<Result<_, _>>()?;
        let universe = self.universe(&suites, recipe.architecture)?;
        let builder = build_machine()?;
        let tool_universe = if builder == recipe.architecture {
            None
        } else {
            Some(self.universe(&suites, builder)?)
        };

        let asked = AskedFor::of(recipe);
        let unsolved = |message: String| Error::Input(format!("{}: {message}", self.shown()));
        let packages =
            resolve::closure(&universe, &asked.packages, &asked.exclude).map_err(unsolved)?;
        let boot = asked
            .boot_packages
            .iter()
            .map(|name| resolve::newest(&universe, name).map(Candidate::locked));
        let boot_packages = boot.collect::<Result<Vec<_>, _>>().map_err(unsolved)?;
        let tools = resolve::closure(
            tool_universe.as_ref().unwrap_or(&universe),
            &asked.tools,
            &[],
        )
        .map_err(unsolved)?;
        let kernel = kernel(&packages, &recipe.kernel.package).map_err(unsolved)?;

        let packages: Vec<LockedPackage> = packages.into_iter().map(Candidate::locked).collect();
        let (users, groups) = self.numbers(&packages, &kernel, old)?;
        let suites: Vec<LockedSuite> = suites.iter().map(suite::Opened::locked).collect();
        let lock = Lock {
            schema: SCHEMA,
            recipe: recipe.id.clone(),
            architecture: recipe.architecture,
            epoch: suites
                .iter()
                .map(|suite| suite.date)
                .max()
                .unwrap_or_default(),
            kernel,
            asked,
            users,
            groups,
            suites,
            packages,
            boot_packages,
            tools: Tools {
                architecture: builder,
                packages: tools.into_iter().map(Candidate::locked).collect(),
            },
        };
        // What the mirror says is checked like what a person wrote.
        Lock::parse(&self.shown(), &lock.to_text()).map_err(|error| Error::Input(error.to_string()))
    }

    fn universe(
        &self,
        suites: &[suite::Opened],
        architecture: Architecture,
    ) -> Result<Universe, Error> {
        let mut universe = Universe::default();
        suites.iter().try_for_each(|suite| {
            suite.add_to(&mut universe, architecture, self.fetcher, self.progress)
        })?;
        Ok(universe)
    }

    /// Users and groups of packages, entries, overlays and the recipe.
    fn numbers(
        &self,
        packages: &[LockedPackage],
        kernel: &str,
        old: Option<&Lock>,
    ) -> Result<(numbers::Numbers, numbers::Numbers), Error> {
        let recipe = self.recipe;
        let mut asked = Asked::default();
        let names: Vec<&str> = packages
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        for (_, entry) in Entries::read(recipe)?.of_all(&names) {
            asked.entry(entry);
        }
        asked.recipe(recipe);
        let mut texts = Vec::new();
        // The kernel is by far the largest package and brings no users.
        let others: Vec<LockedPackage> = packages
            .iter()
            .filter(|package| package.name != kernel)
            .cloned()
            .collect();
        for local in self.fetcher.packages(&others, self.progress)? {
            let admitted = |path: &str| recipe.paths.admit(&local.name, path);
            texts.extend(
                sysusers_of(&local.path, &local.file, &admitted)
                    .map_err(|error| Error::Input(error.to_string()))?,
            );
        }
        for folder in recipe
            .overlays
            .iter()
            .flat_map(|overlay| SYSUSERS.map(|folder| overlay.join(folder)))
        {
            for path in files_with_end(&folder, "conf")? {
                texts.push((
                    path.display().to_string(),
                    read_bounded(&path).map_err(Error::file("read", &path))?,
                ));
            }
        }
        for (file, text) in &texts {
            let read = asked.sysusers(file, text);
            read.map_err(|error| Error::Input(error.to_string()))?;
        }
        let none = numbers::Numbers::new();
        let (users, groups) = old.map_or((&none, &none), |old| (&old.users, &old.groups));
        numbers::number(&asked, users, groups)
            .map_err(|message| Error::Input(format!("{}: {message}", self.shown())))
    }

    fn shown(&self) -> String {
        self.recipe
            .sources
            .first()
            .map(|path| path.display().to_string())
            .unwrap_or_default()
    }
}

/// Where sysusers.d(5) files are.
const SYSUSERS: [&str; 2] = ["usr/lib/sysusers.d", "etc/sysusers.d"];

/// sysusers.d files of a package that enter the root.
fn sysusers_of(
    path: &Path,
    file: &str,
    admitted: &dyn Fn(&str) -> bool,
) -> Result<Vec<(String, String)>, archive::Error> {
    let package = deb::read_named(path, file, &Limits::default())?;
    let mut entries = package.entries()?;
    let mut texts = Vec::new();
    while let Some(entry) = entries.next()? {
        let here = SYSUSERS.iter().any(|folder| {
            entry
                .path
                .strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
        });
        if here
            && entry.kind == tar::Kind::File
            && entry.path.ends_with(".conf")
            && entry.size < 1 << 20
            && admitted(&entry.path)
        {
            let text = String::from_utf8_lossy(&entries.data()?).into_owned();
            texts.push((format!("{file}: {}", entry.path), text));
        }
    }
    Ok(texts)
}

/// The package that holds the kernel: the one asked for, or what that metapackage depends on.
fn kernel(packages: &[&Candidate], asked: &str) -> Result<String, String> {
    let meta = packages.iter().find(|package| package.name == asked);
    let needs = meta
        .map(|meta| crate::relation::parse(&meta.needs))
        .transpose()?
        .unwrap_or_default();
    let image = |name: &str| {
        name.starts_with("linux-image-") && packages.iter().any(|package| package.name == name)
    };
    let below = needs
        .into_iter()
        .flatten()
        .map(|atom| atom.name)
        .find(|name| image(name));
    Ok(below.unwrap_or_else(|| asked.to_owned()))
}

fn build_machine() -> Result<Architecture, Error> {
    let machine = std::env::consts::ARCH;
    Architecture::from_machine(machine).ok_or_else(|| {
        Error::Input(format!(
            "images cannot be built on {machine}: Debian's tools are locked for amd64 and arm64"
        ))
    })
}

/// What is other than before.
fn changes(old: Option<&Lock>, new: &Lock) -> Vec<String> {
    let all = |lock: &Lock| -> std::collections::BTreeMap<String, String> {
        let packages = lock
            .packages
            .iter()
            .chain(&lock.boot_packages)
            .chain(&lock.tools.packages);
        packages
            .map(|package| (package.name.clone(), package.version.clone()))
            .collect()
    };
    let before = old.map(all).unwrap_or_default();
    let after = all(new);
    let mut changes = Vec::new();
    for (name, version) in &after {
        match before.get(name) {
            None => changes.push(format!("+ {name} {version}")),
            Some(other) if other != version => changes.push(format!("{name} {other} -> {version}")),
            Some(_) => {}
        }
    }
    changes.extend(
        before
            .iter()
            .filter(|(name, _)| !after.contains_key(*name))
            .map(|(name, version)| format!("- {name} {version}")),
    );
    changes
}

/// Files of a folder with that end, sorted; none if there is no such folder.
fn files_with_end(folder: &Path, end: &str) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", folder)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::file("read", folder))?.path();
        if path.extension().is_some_and(|found| found == end) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A file's text, which a person wrote: small.
fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    fs::File::open(path)?
        .take(spec_recipe::FILE_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
