//! What several directives ask of the same paths becomes one list in which each path stands once.

use std::collections::BTreeMap;

use crate::plan::{Content, Mount};

/// What one directive asks of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Absolute path.
    pub path: String,
    /// What is to be there.
    pub content: Content,
    /// Whether it can be written; none leaves it as what it is in.
    pub read_only: Option<bool>,
    /// Whether its files can be executed; none leaves it as what it is in.
    pub no_exec: Option<bool>,
    /// It may be missing.
    pub missing_ok: bool,
    /// Gives way to any other entry of the path.
    pub implicit: bool,
}

/// Folders that are links on every node, and where they lead.
const LINKS: [(&str, &str); 6] = [
    ("/var/run", "/run"),
    ("/var/lock", "/run/lock"),
    ("/bin", "/usr/bin"),
    ("/sbin", "/usr/sbin"),
    ("/lib", "/usr/lib"),
    ("/lib64", "/usr/lib64"),
];

impl Entry {
    /// Something at a path.
    pub fn new(path: &str, content: Content) -> Self {
        Self {
            path: path.into(),
            content,
            read_only: None,
            no_exec: None,
            missing_ok: false,
            implicit: false,
        }
    }

    /// Cannot be written.
    pub fn read_only(path: &str) -> Self {
        Self::new(path, Content::Same).unwritable()
    }

    /// Can be written.
    pub fn read_write(path: &str) -> Self {
        Self {
            read_only: Some(false),
            ..Self::new(path, Content::Same)
        }
    }

    /// Can be written where nothing else is said of the path.
    pub fn stays_read_write(path: &str) -> Self {
        Self {
            implicit: true,
            missing_ok: true,
            ..Self::read_write(path)
        }
    }

    /// Cannot be opened.
    pub fn inaccessible(path: &str) -> Self {
        Self::new(path, Content::Inaccessible)
    }

    /// Can be executed.
    pub fn exec(path: &str) -> Self {
        Self {
            no_exec: Some(false),
            ..Self::new(path, Content::Same)
        }
    }

    /// Cannot be executed.
    pub fn no_exec(path: &str) -> Self {
        Self {
            no_exec: Some(true),
            ..Self::new(path, Content::Same)
        }
    }

    /// Another path's content.
    pub fn bind(source: &str, target: &str, recursive: bool) -> Self {
        Self::new(
            target,
            Content::Bind {
                source: source.into(),
                recursive,
            },
        )
    }

    /// The same, read-only.
    pub fn unwritable(self) -> Self {
        Self {
            read_only: Some(true),
            ..self
        }
    }

    /// The same, and it may be missing or not.
    pub fn missing_ok(self, missing_ok: bool) -> Self {
        Self { missing_ok, ..self }
    }

    /// Takes the links of a node's root out of the path: what lies behind one must be in its place in the list.
    pub fn straighten(&mut self) {
        for (link, target) in LINKS {
            let rest = self.path.strip_prefix(link);
            if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                self.path = format!("{target}{rest}");
                return;
            }
        }
    }

    /// Of several contents of one path the one with the least rank counts.
    fn rank(&self) -> u8 {
        match self.content {
            Content::Inaccessible => 0,
            Content::Same => 2,
            _ => 1,
        }
    }

    /// What both ask of a path: the narrower of the two, and what only one of them says.
    fn with(self, other: Self) -> Self {
        let (implicit, missing_ok) = (self.implicit && other.implicit, {
            self.missing_ok && other.missing_ok
        });
        let (first, second) = match (self.implicit, other.implicit) {
            (true, false) => (other, self),
            _ if other.rank() < self.rank() => (other, self),
            _ => (self, other),
        };
        let narrower = |left: Option<bool>, right: Option<bool>| match (left, right) {
            (Some(left), Some(right)) => Some(left || right),
            (left, right) => left.or(right),
        };
        let read_only = if second.implicit {
            first.read_only.or(second.read_only)
        } else {
            narrower(first.read_only, second.read_only)
        };
        Self {
            no_exec: narrower(first.no_exec, second.no_exec),
            read_only,
            implicit,
            missing_ok,
            ..first
        }
    }
}

/// The list, sorted by path. What lies in something that cannot be opened is left out, and so is what changes nothing
/// and need not be there.
pub(super) fn merge(entries: Vec<Entry>) -> Vec<Mount> {
    let mut by_path: BTreeMap<Vec<String>, Entry> = BTreeMap::new();
    for entry in entries {
        let key = entry.path.split('/').filter(|part| !part.is_empty());
        let key: Vec<String> = key.map(String::from).collect();
        let merged = match by_path.remove(&key) {
            Some(earlier) => earlier.with(entry),
            None => entry,
        };
        by_path.insert(key, merged);
    }
    let mut list: Vec<(Vec<String>, Mount)> = Vec::new();
    for (key, entry) in by_path {
        let around = list.iter().rev().find(|(outer, _)| key.starts_with(outer));
        let around = around.map(|(_, mount)| mount);
        if around.is_some_and(|mount| mount.content == Content::Inaccessible) {
            continue;
        }
        let (outer_read_only, outer_no_exec) =
            around.map_or((false, false), |mount| (mount.read_only, mount.no_exec));
        let same = entry.content == Content::Same;
        let mount = Mount {
            target: entry.path,
            // Something new is not read-only because of what it is mounted in.
            read_only: entry.read_only.unwrap_or(same && outer_read_only),
            no_exec: entry.no_exec.unwrap_or(outer_no_exec),
            content: entry.content,
            missing_ok: entry.missing_ok,
            idmapped: false,
        };
        let changes = (mount.read_only, mount.no_exec) != (outer_read_only, outer_no_exec);
        // As in systemd one that has to be there is looked for, though nothing around it is closed.
        let looked_for = around.is_none() && !mount.missing_ok;
        if !same || changes || looked_for {
            list.push((key, mount));
        }
    }
    list.into_iter().map(|(_, mount)| mount).collect()
}
