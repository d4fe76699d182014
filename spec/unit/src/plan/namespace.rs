//! Namespaces of a child besides that of its mounts: namespaces(7).

use serde::{Deserialize, Serialize};

use super::absolute;

/// Most ranges of one map, as the kernel takes them.
pub const MAX_RANGES: usize = 340;

/// Namespaces of a child.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Namespaces {
    /// Links, addresses, routes, ports.
    pub network: Sharing,
    /// System V objects and POSIX message queues.
    pub ipc: Sharing,
    /// A host name of its own.
    pub host_name: bool,
    /// The cgroup tree begins at its own cgroup.
    pub cgroup: bool,
    /// Process numbers of its own; it is number 1.
    pub processes: bool,
    /// User and group numbers of its own. Where they are others than outside, all numbers in the plan are those inside,
    /// and the child is root of the namespace if the plan has no credentials.
    pub users: Option<IdMaps>,
}

/// Whose namespace a child is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// PID 1's.
    #[default]
    Shared,
    /// One of its unit: the first process makes it, the others join.
    Own,
    /// The one that this file refers to.
    At(String),
}

/// Maps of a user namespace, user_namespaces(7).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdMaps {
    /// User numbers.
    pub uid: Vec<IdRange>,
    /// Group numbers.
    pub gid: Vec<IdRange>,
}

/// A range of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdRange {
    /// First number inside.
    pub inside: u32,
    /// Its number outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl Namespaces {
    pub(super) fn check(&self) -> Result<(), String> {
        for (field, sharing) in [
            ("namespaces.network", &self.network),
            ("namespaces.ipc", &self.ipc),
        ] {
            if let Sharing::At(path) = sharing {
                absolute(field, path)?;
            }
        }
        let Some(maps) = &self.users else {
            return Ok(());
        };
        for (field, map) in [
            ("namespaces.users.uid", &maps.uid),
            ("namespaces.users.gid", &maps.gid),
        ] {
            if map.is_empty() || map.len() > MAX_RANGES {
                return Err(format!("{field}: give 1 to {MAX_RANGES} ranges"));
            }
            for range in map {
                let end = |first: u32| first.checked_add(range.count);
                let fits = range.count > 0 && end(range.inside).is_some();
                if !fits || end(range.outside).is_none() {
                    return Err(format!("{field}: a range is empty or ends above 2^32"));
                }
            }
        }
        Ok(())
    }
}

impl IdMaps {
    /// The user namespace of a task: all of the `count` numbers from `first` on, counted from 0 inside.
    pub fn range(first: u32, count: u32) -> Self {
        let map = vec![IdRange {
            inside: 0,
            outside: first,
            count,
        }];
        Self {
            uid: map.clone(),
            gid: map,
        }
    }

    /// Whether a number inside is another one outside.
    pub fn is_shifted(&self) -> bool {
        let mut ranges = self.uid.iter().chain(&self.gid);
        ranges.any(|range| range.inside != range.outside)
    }

    /// User and group outside, of a user and group inside that have a number there.
    pub fn outside(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((outside(&self.uid, uid)?, outside(&self.gid, gid)?))
    }

    /// The text for `/proc/PID/uid_map` or `gid_map`.
    pub fn text(map: &[IdRange]) -> String {
        let line = |range: &IdRange| {
            let IdRange {
                inside,
                outside,
                count,
            } = range;
            format!("{inside} {outside} {count}\n")
        };
        map.iter().map(line).collect()
    }
}

fn outside(map: &[IdRange], inside: u32) -> Option<u32> {
    map.iter().find_map(|range| {
        let step = inside.checked_sub(range.inside)?;
        (step < range.count).then(|| range.outside.checked_add(step))?
    })
}
