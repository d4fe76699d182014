//! The root in memory: every path once, sorted, with owner, mode, extended attributes and time.
//!
//! Paths are relative and canonical ("usr/bin/etcd"; the root itself is ""). The old top-level folders are links
//! into `usr` (usrmerge), so `bin/x` and `usr/bin/x` are one path. Nothing here touches a file system.

use std::collections::BTreeMap;
use std::sync::Arc;

use archive::tar;
use bytes::Bytes;

/// The folders that usrmerge turns into links.
pub(crate) const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    /// Extended attributes by name, sorted.
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
    /// Who put it there, for messages: a package, an overlay.
    pub(crate) origin: Arc<str>,
}

/// What a path can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder.
    Folder,
    /// A file and its content.
    File(Bytes),
    /// A symbolic link and its target, as written.
    Symlink(String),
    /// A second name of the file at that path.
    HardLink(String),
}

impl Kind {
    /// The word for it in messages.
    fn noun(&self) -> &'static str {
        match self {
            Kind::Folder => "a folder",
            Kind::File(_) => "a file",
            Kind::Symlink(_) => "a link",
            Kind::HardLink(_) => "a hard link",
        }
    }
}

/// The root.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
    epoch: i64,
    builder: Arc<str>,
}

impl Tree {
    /// A root with nothing but the merged links. No time in it is later than `epoch`, the time of what the builder
    /// makes itself.
    pub(crate) fn new(epoch: i64) -> Tree {
        let mut tree = Tree {
            nodes: BTreeMap::new(),
            epoch,
            builder: "the builder".into(),
        };
        tree.make_folder("", 0o755);
        for name in MERGED {
            tree.make_folder(&format!("usr/{name}"), 0o755);
            tree.make_symlink(name, &format!("usr/{name}"));
        }
        tree
    }

    /// The time of what the builder makes.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    /// What stands at a path.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&*canonical(path))
    }

    /// Content of the file at a path, links followed.
    pub(crate) fn file(&self, path: &str) -> Option<&Bytes> {
        match &self.get(&self.resolve(path)?)?.kind {
            Kind::File(content) => Some(content),
            Kind::HardLink(target) => match &self.get(target)?.kind {
                Kind::File(content) => Some(content),
                _ => None,
            },
            _ => None,
        }
    }

    /// Text of the file at a path, if it is text.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.file(path)?).ok()
    }

    /// The path that `path` leads to once every link in it is followed; nothing if it leads nowhere.
    pub(crate) fn resolve(&self, path: &str) -> Option<String> {
        const LINKS_MAX: usize = 40;
        let mut links = 0;
        let mut done = String::new();
        let mut rest: Vec<String> = parts(path);
        rest.reverse();
        while let Some(part) = rest.pop() {
            if part == ".." {
                done.truncate(done.rfind('/').unwrap_or(0));
                continue;
            }
            let next = join(&done, &part);
            match &self.nodes.get(&next)?.kind {
                Kind::Symlink(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return None;
                    }
                    if target.starts_with('/') {
                        done.clear();
                    }
                    rest.extend(parts(target).into_iter().rev());
                }
                _ => done = next,
            }
        }
        Some(done)
    }

    /// Every path with what stands there, parents first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// What stands directly in a folder, by name.
    pub(crate) fn folder<'a>(
        &'a self,
        path: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Node)> + use<'a> {
        let prefix = match &*canonical(path) {
            "" => String::new(),
            path => format!("{path}/"),
        };
        let from = prefix.clone();
        self.nodes
            .range(from..)
            .take_while({
                let prefix = prefix.clone();
                move |(path, _)| path.starts_with(&prefix)
            })
            .filter_map(move |(path, node)| {
                let name = &path[prefix.len()..];
                (!name.is_empty() && !name.contains('/')).then_some((name, node))
            })
    }

    /// Puts something of a package or of the builder; says who is in its way.
    pub(crate) fn add(&mut self, path: &str, node: Node) -> Result<(), String> {
        self.put(path, node, false)
    }

    /// Puts something over whatever file or link stands there.
    pub(crate) fn replace(&mut self, path: &str, node: Node) -> Result<(), String> {
        self.put(path, node, true)
    }

    fn put(&mut self, path: &str, mut node: Node, over: bool) -> Result<(), String> {
        let path = canonical(path).into_owned();
        if MERGED.contains(&path.as_str()) {
            // The folder or the link of usrmerge itself; it stands already.
            return match node.kind {
                Kind::Folder | Kind::Symlink(_) => Ok(()),
                _ => Err(format!(
                    "{} puts {} at /{path}, which is a folder",
                    node.origin,
                    node.kind.noun()
                )),
            };
        }
        node.mtime = node.mtime.clamp(0, self.epoch);
        if let Kind::HardLink(target) = &mut node.kind {
            *target = canonical(target).into_owned();
        }
        self.make_parents(&path, &node)?;
        let Some(there) = self.nodes.get(&path) else {
            self.nodes.insert(path, node);
            return Ok(());
        };
        match (&there.kind, &node.kind) {
            (Kind::Folder, Kind::Folder) if !over => return Ok(()),
            (Kind::Folder, Kind::Folder) => {}
            (Kind::Folder, kind) | (kind, Kind::Folder) => {
                let (folder, other) = if there.kind == Kind::Folder {
                    (there, &node)
                } else {
                    (&node, there)
                };
                return Err(format!(
                    "/{path} is a folder in {} and {} in {}",
                    folder.origin,
                    kind_noun(kind),
                    other.origin
                ));
            }
            _ if over => {}
            (ours, theirs) if ours == theirs => return Ok(()),
            _ => {
                return Err(format!(
                    "/{path} is in {} and in {}: exclude one of them or drop the path in its recipes/packages entry",
                    there.origin, node.origin
                ));
            }
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Makes the folders above a path, as root's and 0755.
    fn make_parents(&mut self, path: &str, node: &Node) -> Result<(), String> {
        for (at, _) in path.match_indices('/') {
            match self.nodes.get(&path[..at]) {
                Some(Node {
                    kind: Kind::Folder, ..
                }) => {}
                Some(other) => {
                    return Err(format!(
                        "{} puts /{path}, but /{} is {} in {}",
                        node.origin,
                        &path[..at],
                        other.kind.noun(),
                        other.origin
                    ));
                }
                None => {
                    let node = self.own(Kind::Folder, 0o755);
                    self.nodes.insert(path[..at].to_owned(), node);
                }
            }
        }
        Ok(())
    }

    /// A node of the builder's.
    pub(crate) fn own(&self, kind: Kind, mode: u32) -> Node {
        Node {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: self.epoch,
            xattrs: Vec::new(),
            origin: self.builder.clone(),
        }
    }

    /// Makes a folder unless there is one; `path` is the builder's own.
    pub(crate) fn make_folder(&mut self, path: &str, mode: u32) {
        let node = self.own(Kind::Folder, mode);
        self.make_parents(path, &node)
            .and_then(|()| self.put(path, node, false))
            .expect("the builder's folders are free");
    }

    /// Writes a file of the builder's own, over what is there.
    pub(crate) fn make_file(
        &mut self,
        path: &str,
        mode: u32,
        content: impl Into<Bytes>,
    ) -> Result<(), String> {
        self.replace(path, self.own(Kind::File(content.into()), mode))
    }

    /// Makes one of the merged links.
    fn make_symlink(&mut self, path: &str, target: &str) {
        let node = self.own(Kind::Symlink(target.to_owned()), 0o777);
        self.nodes.insert(path.to_owned(), node);
    }

    /// Makes a link of the builder's own, over a file or link that stands there.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> Result<(), String> {
        self.replace(path, self.own(Kind::Symlink(target.to_owned()), 0o777))
    }

    /// The tree as tar, in the order of its paths; a file's first name carries its content.
    pub(crate) fn to_tar(&self) -> Vec<u8> {
        let first = self.first_names();
        let content: usize = self
            .nodes
            .values()
            .map(|node| {
                if let Kind::File(content) = &node.kind {
                    content.len()
                } else {
                    0
                }
            })
            .sum();
        let mut writer = tar::Writer::new(Vec::with_capacity(content + self.nodes.len() * 1024));
        for (path, node) in &self.nodes {
            let mut entry = tar::Entry {
                mode: node.mode,
                uid: node.uid,
                gid: node.gid,
                mtime: node.mtime,
                xattrs: node.xattrs.clone(),
                ..tar::Entry::folder(path, 0)
            };
            let mut data: &[u8] = &[];
            entry.kind = match &node.kind {
                Kind::Folder => tar::Kind::Folder,
                Kind::Symlink(target) => tar::Kind::Symlink(target.clone()),
                Kind::File(_) | Kind::HardLink(_) => {
                    let target = if let Kind::HardLink(target) = &node.kind {
                        target
                    } else {
                        path
                    };
                    match (
                        first.get(target.as_str()),
                        self.nodes.get(target).map(|node| &node.kind),
                    ) {
                        (Some(first), _) if first != path => {
                            tar::Kind::Hardlink((*first).to_owned())
                        }
                        (_, Some(Kind::File(content))) => {
                            data = content;
                            tar::Kind::File
                        }
                        _ => continue,
                    }
                }
            };
            writer
                .write(&entry, data)
                .expect("memory takes every write");
        }
        writer.finish().expect("memory takes every write")
    }

    /// For each file with several names, the first of them in the tree's order.
    fn first_names(&self) -> BTreeMap<&str, &str> {
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        for (path, node) in &self.nodes {
            if let Kind::HardLink(target) = &node.kind {
                let name = first.entry(target).or_insert(target);
                if path.as_str() < *name {
                    *name = path;
                }
            }
        }
        first
    }

    /// Hard links to nothing, which a package filter or a replaced file can leave; each with its origin.
    pub(crate) fn dangling_hard_links(&self) -> Vec<String> {
        self.nodes
            .iter()
            .filter_map(|(path, node)| match &node.kind {
                Kind::HardLink(target)
                    if !matches!(
                        self.nodes.get(target),
                        Some(Node {
                            kind: Kind::File(_),
                            ..
                        })
                    ) =>
                {
                    Some(format!(
                        "/{path} in {} is a hard link to /{target}, which is no file",
                        node.origin
                    ))
                }
                _ => None,
            })
            .collect()
    }
}

fn kind_noun(kind: &Kind) -> &'static str {
    kind.noun()
}

/// The path with the merged folders in `usr`.
pub(crate) fn canonical(path: &str) -> std::borrow::Cow<'_, str> {
    let path = path.trim_start_matches('/').trim_end_matches('/');
    match path.split_once('/') {
        Some((first, rest)) if MERGED.contains(&first) => format!("usr/{first}/{rest}").into(),
        _ => path.into(),
    }
}

fn parts(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .map(str::to_owned)
        .collect()
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: Kind, origin: &str) -> Node {
        Node {
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 2_000,
            xattrs: Vec::new(),
            origin: origin.into(),
        }
    }

    fn file(content: &'static str, origin: &str) -> Node {
        node(Kind::File(content.into()), origin)
    }

    #[test]
    fn old_folders_are_links_into_usr() {
        let mut tree = Tree::new(1_000);
        tree.add("bin/sh", file("x", "dash")).unwrap();
        assert!(tree.get("usr/bin/sh").is_some());
        assert_eq!(tree.file("/bin/sh").unwrap(), "x");
        assert_eq!(tree.resolve("bin/sh").unwrap(), "usr/bin/sh");
        assert_eq!(
            tree.get("usr/bin/sh").unwrap().mtime,
            1_000,
            "no time is later than the lock's"
        );
    }

    #[test]
    fn two_packages_with_one_path_are_named() {
        let mut tree = Tree::new(0);
        tree.add("usr/bin/x", file("1", "package a")).unwrap();
        tree.add("usr/bin/x", file("1", "package b"))
            .expect("the same content is no conflict");
        let message = tree.add("usr/bin/x", file("2", "package c")).unwrap_err();
        assert!(
            message.starts_with("/usr/bin/x is in package a and in package c"),
            "{message}"
        );
        let message = tree.add("usr/bin", file("2", "package c")).unwrap_err();
        assert!(
            message.contains("is a folder in the builder and a file in package c"),
            "{message}"
        );
        let message = tree.add("usr/bin/x/y", file("2", "package c")).unwrap_err();
        assert!(
            message.contains("/usr/bin/x is a file in package a"),
            "{message}"
        );
        tree.replace("usr/bin/x", file("3", "overlay")).unwrap();
        assert_eq!(tree.file("usr/bin/x").unwrap(), "3");
    }

    #[test]
    fn links_lead_where_they_lead() {
        let mut tree = Tree::new(0);
        tree.add(
            "etc/alternatives/awk",
            node(Kind::Symlink("/usr/bin/mawk".into()), "a"),
        )
        .unwrap();
        tree.add("usr/bin/mawk", file("m", "a")).unwrap();
        tree.add(
            "usr/bin/awk",
            node(Kind::Symlink("../../etc/alternatives/awk".into()), "a"),
        )
        .unwrap();
        tree.add("loop", node(Kind::Symlink("loop".into()), "a"))
            .unwrap();
        assert_eq!(tree.resolve("bin/awk").as_deref(), Some("usr/bin/mawk"));
        assert_eq!(tree.resolve("loop"), None);
        assert_eq!(tree.resolve("usr/bin/none"), None);
        assert_eq!(
            tree.folder("usr/bin")
                .map(|(name, _)| name)
                .collect::<Vec<_>>(),
            ["awk", "mawk"]
        );
    }

    #[test]
    fn the_first_name_of_a_file_carries_its_content() {
        let mut tree = Tree::new(0);
        tree.add("usr/b", file("content", "p")).unwrap();
        tree.add("usr/a", node(Kind::HardLink("usr/b".into()), "p"))
            .unwrap();
        tree.add("usr/c", node(Kind::HardLink("usr/gone".into()), "p"))
            .unwrap();
        assert_eq!(tree.dangling_hard_links().len(), 1);
        let bytes = tree.to_tar();
        let mut reader = tar::Reader::new(&bytes[..], "x", &archive::Limits::default());
        let mut seen = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            seen.push((entry.path.clone(), entry.kind.clone()));
        }
        let at = seen.iter().position(|(path, _)| path == "usr/a").unwrap();
        assert_eq!(seen[at].1, tar::Kind::File);
        assert_eq!(
            seen[at + 1],
            ("usr/b".into(), tar::Kind::Hardlink("usr/a".into()))
        );
    }
}
