//! Overlays: file trees of the project laid onto the root.
//!
//! Only what git keeps counts: whether a file is executable, and link targets. Everything belongs to root and has
//! the time of the lock, so a checkout by another user gives the same image.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::Error;
use crate::tree::{Kind, Node, Tree};

/// Bytes that a file of an overlay may have.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Keeps an otherwise empty folder in git; not part of the image.
const KEEP: &str = ".gitkeep";

/// A file or link of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path in the image, relative.
    pub(crate) path: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// Permission bits.
    pub(crate) mode: u32,
}

/// Reads an overlay, sorted by path.
pub(crate) fn read(folder: &Path) -> Result<Vec<Entry>, Error> {
    if !folder.is_dir() {
        return Err(Error::Input(format!(
            "overlay {} is no folder: correct overlays in the recipe",
            folder.display()
        )));
    }
    let mut entries = Vec::new();
    walk(folder, "", &mut entries)?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn walk(folder: &Path, below: &str, entries: &mut Vec<Entry>) -> Result<(), Error> {
    for item in fs::read_dir(folder).map_err(Error::file("read", folder))? {
        let item = item.map_err(Error::file("read", folder))?;
        let host: PathBuf = item.path();
        let name = item.file_name();
        let name = name
            .to_str()
            .ok_or_else(|| Error::Input(format!("{}: the name is not UTF-8", host.display())))?;
        let path = if below.is_empty() {
            name.to_owned()
        } else {
            format!("{below}/{name}")
        };
        let meta = item.metadata().map_err(Error::file("read", &host))?;
        let (kind, mode) = if meta.is_dir() {
            walk(&host, &path, entries)?;
            (Kind::Folder, 0o755)
        } else if meta.is_symlink() {
            let target = fs::read_link(&host).map_err(Error::file("read", &host))?;
            let target = target.to_str().ok_or_else(|| {
                Error::Input(format!("{}: the target is not UTF-8", host.display()))
            })?;
            (Kind::Symlink(target.to_owned()), 0o777)
        } else if meta.is_file() && meta.len() <= FILE_BYTES_MAX {
            if name == KEEP {
                continue;
            }
            let content = fs::read(&host).map_err(Error::file("read", &host))?;
            let executable = meta.permissions().mode() & 0o100 != 0;
            (
                Kind::File(Bytes::from(content)),
                if executable { 0o755 } else { 0o644 },
            )
        } else {
            return Err(Error::Input(format!(
                "{}: an overlay holds files up to 1 GiB, folders and links only",
                host.display()
            )));
        };
        entries.push(Entry { path, kind, mode });
    }
    Ok(())
}

/// Lays the entries onto the tree, over files and links that stand there.
pub(crate) fn apply(entries: &[Entry], origin: &str, tree: &mut Tree) -> Result<(), Vec<String>> {
    let origin: std::sync::Arc<str> = origin.into();
    let errors: Vec<String> = entries
        .iter()
        .filter_map(|entry| {
            let node = Node {
                origin: origin.clone(),
                ..tree.own(entry.kind.clone(), entry.mode)
            };
            let put = if entry.kind == Kind::Folder {
                tree.add(&entry.path, node)
            } else {
                tree.replace(&entry.path, node)
            };
            put.err()
        })
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_git_keeps_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = |path: &str, mode: u32| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        file("usr/bin/tool", 0o700);
        file("etc/conf", 0o600);
        file("srv/.gitkeep", 0o644);
        std::os::unix::fs::symlink("../conf", folder.path().join("etc/link")).unwrap();
        let entries = read(folder.path()).unwrap();
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| (entry.path.as_str(), entry.mode))
            .collect();
        assert_eq!(
            seen,
            [
                ("etc", 0o755),
                ("etc/conf", 0o644),
                ("etc/link", 0o777),
                ("srv", 0o755),
                ("usr", 0o755),
                ("usr/bin", 0o755),
                ("usr/bin/tool", 0o755)
            ]
        );
        let mut tree = Tree::new(0);
        apply(&entries, "overlay", &mut tree).unwrap();
        apply(&entries, "overlay", &mut tree).unwrap();
        assert_eq!(tree.file("bin/tool").unwrap(), "x");
    }

    #[test]
    fn a_missing_overlay_is_named() {
        assert!(
            read(Path::new("/no/such/overlay"))
                .unwrap_err()
                .to_string()
                .contains("/no/such/overlay")
        );
    }
}
