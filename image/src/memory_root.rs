//! A root in memory for other people's programs: files of Debian packages and of the caller in one cpio archive, which a
//! kernel unpacks and runs `/init` of. What `bedplate bench init` boots beside a node.
//!
//! Nothing is locked; metadata and packages are verified as for a lock; relations are not followed.

use std::collections::BTreeMap;
use std::path::Path;

use archive::cpio::{Entry, FILE, FOLDER, SYMLINK, Writer};
use archive::{Limits, deb, tar};

use crate::fetch::{Fetcher, LocalDeb};
use crate::tree::canonical;
use crate::{Error, Progress, lock, unit_files};

/// Folders that are links into /usr.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
/// Folders that file systems are mounted on, and what is made at run time.
const EMPTY: [&str; 7] = ["dev", "proc", "root", "run", "sys", "tmp", "var"];
/// Device nodes that are there before /dev is mounted: name, major and minor number.
const DEVICES: [(&str, (u32, u32)); 3] = [("console", (5, 1)), ("kmsg", (1, 11)), ("null", (1, 3))];
/// Type bits of a character device.
const CHARACTER_DEVICE: u32 = 0o020_000;

/// The root: paths without a leading slash, type and permission bits, and a file's bytes or a link's target.
#[derive(Debug, Default)]
pub struct MemoryRoot(BTreeMap<String, (u32, Vec<u8>)>);

impl MemoryRoot {
    /// With the folders and devices that every program expects.
    pub fn new() -> Self {
        let mut root = Self::default();
        EMPTY.iter().for_each(|name| root.folder(name));
        for name in MERGED {
            root.link(name, &format!("usr/{name}"));
            root.folder(&format!("usr/{name}"));
        }
        root
    }

    /// An empty folder.
    pub fn folder(&mut self, path: &str) {
        self.0.insert(path.into(), (FOLDER | 0o755, Vec::new()));
    }

    /// A file with these permission bits.
    pub fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), (FILE | mode, bytes.into()));
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.0.insert(path.into(), (SYMLINK | 0o777, target.into()));
    }

    /// Adds files of packages, the newest of each that the suites of `recipe` have; `wanted` is asked for each path.
    pub fn unpack(
        &mut self,
        recipe: &Path,
        packages: &[&str],
        wanted: &dyn Fn(&str) -> bool,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let recipe = lock::read_recipe(recipe)?;
        let fetcher = Fetcher::new(&recipe, false)?;
        let packages = unit_files::newest(&recipe, &fetcher, packages, progress)?;
        for deb in fetcher.packages(&packages, progress)? {
            self.add(&deb, wanted)
                .map_err(|message| Error::Input(format!("{}: {message}", deb.file)))?;
        }
        Ok(())
    }

    fn add(&mut self, deb: &LocalDeb, wanted: &dyn Fn(&str) -> bool) -> Result<(), String> {
        let told = |error: archive::Error| error.to_string();
        let package = deb::read_named(&deb.path, &deb.file, &Limits::default()).map_err(told)?;
        let mut entries = package.entries().map_err(told)?;
        while let Some(entry) = entries.next().map_err(told)? {
            let path = canonical(&entry.path).into_owned();
            if !wanted(&path) {
                continue;
            }
            match &entry.kind {
                tar::Kind::File => {
                    let bytes = entries.data().map_err(told)?;
                    self.file(&path, entry.mode & 0o755, bytes);
                }
                tar::Kind::Symlink(target) => self.link(&path, target),
                tar::Kind::Hardlink(target) => {
                    let first = self.0.get(canonical(target).as_ref()).cloned();
                    let first = first.ok_or_else(|| format!("{path} is a link to nothing"))?;
                    self.0.insert(path, first);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The archive, not compressed.
    pub fn archive(&self) -> Vec<u8> {
        let mut whole = self.0.clone();
        for path in self.0.keys() {
            let mut above = path.as_str();
            while let Some((folder, _)) = above.rsplit_once('/') {
                let made = || (FOLDER | 0o755, Vec::new());
                whole.entry(folder.into()).or_insert_with(made);
                above = folder;
            }
        }
        let mut writer = Writer::new(Vec::new());
        for (path, (mode, data)) in &whole {
            writer
                .write(&Entry::new(path, *mode), data)
                .expect("memory takes every write");
        }
        for (name, device) in DEVICES {
            let entry = Entry::new(&format!("dev/{name}"), CHARACTER_DEVICE | 0o600);
            writer
                .write(&Entry { device, ..entry }, &[])
                .expect("memory takes every write");
        }
        writer.finish().expect("memory takes every write")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_and_files_of_the_caller_become_one_archive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.deb");
        let mut alias = tar::Entry::file("usr/bin/y", 0o777);
        alias.kind = tar::Kind::Symlink("x".into());
        let entries = [
            (tar::Entry::file("bin/x", 0o755), b"program".to_vec()),
            (alias, Vec::new()),
            (tar::Entry::file("usr/share/doc/x", 0o644), b"text".to_vec()),
        ];
        let control = "Package: x\nVersion: 1\n";
        std::fs::write(&path, deb::write(control, &[], &entries).unwrap()).unwrap();
        let deb = LocalDeb {
            name: "x".into(),
            version: "1".into(),
            architecture: "amd64".into(),
            file: "x.deb".into(),
            path,
            sha256: String::new(),
            size: 0,
        };
        let mut root = MemoryRoot::new();
        root.add(&deb, &|path| !path.starts_with("usr/share/"))
            .unwrap();
        root.file("etc/deep/file", 0o600, "own");
        let bytes = root.archive();
        let (members, _) = archive::cpio::read(&bytes, "root", &Limits::default()).unwrap();
        let found = |path: &str| {
            let mut all = members.iter();
            let member = all.find(|(entry, _)| entry.path == path);
            member.map(|(entry, data)| (entry.mode, *data))
        };
        assert_eq!(found("usr/bin/x"), Some((FILE | 0o755, &b"program"[..])));
        assert_eq!(found("usr/bin/y"), Some((SYMLINK | 0o777, &b"x"[..])));
        assert_eq!(found("bin"), Some((SYMLINK | 0o777, &b"usr/bin"[..])));
        assert_eq!(found("etc/deep"), Some((FOLDER | 0o755, &b""[..])));
        assert_eq!(found("etc/deep/file"), Some((FILE | 0o600, &b"own"[..])));
        assert_eq!(found("usr/share/doc/x"), None);
    }
}
