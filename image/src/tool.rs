//! Programs that write bytes of an image: Debian packages pinned in the lock, run through their own loader.
//!
//! Nothing of the building machine's own libraries is used, so the same lock gives the same bytes anywhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use archive::tar;
use spec_recipe::{Lock, LockedPackage};
use tempfile::TempDir;

use crate::cache::Cache;
use crate::fetch::{Fetcher, LocalDeb};
use crate::lock::{self, LockRequest};
use crate::package::{self, Package};
use crate::tree::canonical;
use crate::{Error, Quiet};

/// Libraries folder and loader of the machines that build.
#[cfg(target_arch = "x86_64")]
const LOADER: (&str, &str) = ("usr/lib/x86_64-linux-gnu", "ld-linux-x86-64.so.2");
/// Libraries folder and loader of the machines that build.
#[cfg(target_arch = "aarch64")]
const LOADER: (&str, &str) = ("usr/lib/aarch64-linux-gnu", "ld-linux-aarch64.so.1");

/// Begins the name of each folder of unpacked tools.
const PREFIX: &str = "tools-";
/// A folder of tools that is older was left by a build that was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Tools unpacked for one build, or for a test.
#[derive(Debug)]
pub struct Tools {
    folder: TempDir,
}

/// Whether a tool needs this file of its packages: programs, and libraries directly in the libraries folder.
pub(crate) fn admit(path: &str) -> bool {
    let library = path
        .strip_prefix(LOADER.0)
        .and_then(|rest| rest.strip_prefix('/'));
    path.starts_with("usr/bin/")
        || library.is_some_and(|name| !name.contains('/') && name.contains(".so"))
}

impl Tools {
    /// Unpacks into a folder below `within`, which must allow programs to run; it goes when the tools are dropped.
    pub(crate) fn unpack(packages: &[Package], within: &Path) -> Result<Tools, Error> {
        fs::create_dir_all(within).map_err(Error::file("create", within))?;
        remove_abandoned(within);
        let folder =
            TempDir::with_prefix_in(PREFIX, within).map_err(Error::file("create", within))?;
        for (entry, content) in packages.iter().flat_map(|package| &package.files) {
            let path = folder.path().join(&*canonical(&entry.path));
            let write = || {
                fs::create_dir_all(path.parent().unwrap_or(&path))?;
                match &entry.kind {
                    tar::Kind::File => fs::write(&path, content)?,
                    // Only names within the same folder; the library path finds them.
                    tar::Kind::Symlink(target) if !target.contains('/') => {
                        std::os::unix::fs::symlink(target, &path)?;
                        return Ok(());
                    }
                    _ => return Ok(()),
                }
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            };
            write().map_err(Error::file("write", &path))?;
        }
        Ok(Tools { folder })
    }

    /// The programs of some of a recipe's locked packages, for tests: with the very bytes that images are made with
    /// or hold. They come from the cache, else from a mirror; where that has dropped one, by a scratch lock.
    pub fn locked(
        recipe: &Path,
        chosen: impl Fn(&Lock) -> Vec<LockedPackage>,
        within: &Path,
    ) -> Result<Tools, Error> {
        let parsed = lock::read_recipe(recipe)?;
        let fetch = |lock: &Lock| Fetcher::new(&parsed, false)?.packages(&chosen(lock), &Quiet);
        let debs = match fetch(&lock::read_lock(&lock::beside(recipe))?) {
            Err(Error::Gone(_)) => {
                let request = LockRequest {
                    recipe: recipe.to_owned(),
                    output: Some(within.join("scratch.lock")),
                    offline: false,
                };
                fetch(&lock::run(&request, &Quiet)?.lock)?
            }
            fetched => fetched?,
        };
        let read = |deb: &LocalDeb| package::read(deb, b"", &admit, &Cache::none());
        let packages: Vec<_> = debs.iter().map(read).collect::<Result<_, _>>()?;
        Tools::unpack(&packages, within)
    }

    /// A folder for a tool's files; it goes with the tools.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// One of the programs, through its own loader and without the building machine's environment.
    pub fn command(&self, program: &str) -> Result<Command, Error> {
        let root = self.folder.path();
        let libraries = root.join(LOADER.0);
        let binary = root.join("usr/bin").join(program);
        if !binary.exists() {
            return Err(Error::Input(format!(
                "{program} is in none of the lock's tools: name its package in the recipe's tools and lock again"
            )));
        }
        let mut command = Command::new(libraries.join(LOADER.1));
        command
            .arg("--library-path")
            .arg(&libraries)
            .arg(&binary)
            .env_clear()
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Runs one of the programs in the work folder.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<(), Error> {
        let mut command = self.command(program)?;
        let output = command
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .map_err(Error::file("run", Path::new(command.get_program())))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::Tool {
            tool: program.to_owned(),
            message: format!("{}: {}", output.status, said.trim()),
        })
    }
}

/// Removes what killed builds left; whatever cannot be removed costs only its room.
fn remove_abandoned(within: &Path) {
    for entry in fs::read_dir(within).into_iter().flatten().flatten() {
        let tools = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let modified = entry.metadata().and_then(|meta| meta.modified());
        if tools && modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > ABANDONED)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_and_libraries_are_unpacked() {
        assert!(admit("usr/bin/mkfs.erofs"));
        assert!(admit(&format!("{}/libc.so.6", LOADER.0)));
        assert!(!admit(&format!("{}/gconv/UTF-7.so", LOADER.0)));
        assert!(!admit("usr/share/doc/x"));
    }

    #[test]
    fn a_missing_tool_says_where_it_is_named() {
        let within = tempfile::tempdir().unwrap();
        let tools = Tools::unpack(&[], within.path()).unwrap();
        let message = tools.run("mkfs.none", &[]).unwrap_err().to_string();
        assert!(
            message.contains("name its package in the recipe's tools"),
            "{message}"
        );
    }
}
