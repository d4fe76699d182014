//! File systems of a child, in a mount namespace of its own: mount_namespaces(7), mount_setattr(2).

use serde::{Deserialize, Serialize};

use super::image::Image;
use super::{absolute, line};

/// Most paths that a plan mounts or changes.
pub const MAX_MOUNTS: usize = 512;

/// File systems of a child. None at all leaves it those of PID 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mounts {
    /// It has a mount namespace of its own.
    pub private: bool,
    /// What it mounts itself is seen by nobody else; else PID 1's mounts reach it, its own stay with it.
    pub isolated: bool,
    /// The folder that becomes `/`.
    pub root: Option<String>,
    /// The disk image that becomes `/`.
    pub root_image: Option<Image>,
    /// The root, this one or one that was handed over, shows the owners of its files as the child's user namespace
    /// numbers them: what is 0 on the disk is 0 inside.
    pub idmapped: bool,
    /// What becomes of each path, sorted by it, so that parents come before what is in them. The paths are those of the
    /// new root.
    pub list: Vec<Mount>,
    /// Files for this process only, in a folder that its user alone can read.
    pub credentials: Option<super::credential::CredentialFolder>,
}

/// What becomes of one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute path.
    pub target: String,
    /// What is there.
    pub content: Content,
    /// Nothing in it can be written, down to the next path of the list.
    #[serde(default)]
    pub read_only: bool,
    /// Nothing in it can be executed, down to the next path of the list.
    #[serde(default)]
    pub no_exec: bool,
    /// Nothing happens where the path, or what is to be mounted on it, is missing.
    #[serde(default)]
    pub missing_ok: bool,
    /// A bind shows the owners of its files as the child's user namespace numbers them.
    #[serde(default)]
    pub idmapped: bool,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// What was there before.
    Same,
    /// An empty file or folder that cannot be opened.
    Inaccessible,
    /// A file or folder of PID 1's root.
    Bind {
        /// Its absolute path.
        source: String,
        /// With what is mounted in it.
        recursive: bool,
    },
    /// A disk image of PID 1's root.
    Image(Image),
    /// An empty tmpfs.
    Tmpfs {
        /// Options of tmpfs(5) such as `mode=0755,size=10%`.
        options: String,
    },
    /// A `/dev` with the devices that harm nobody.
    Devices,
    /// A new procfs.
    Proc {
        /// hidepid= of proc(5): `noaccess`, `invisible` or `ptraceable`; else all is seen.
        hide: Option<String>,
        /// subset=pid: only processes.
        only_processes: bool,
    },
    /// The POSIX message queues of the child's own IPC namespace.
    Queues,
    /// The cgroup tree of the child's own cgroup namespace.
    Cgroups,
}

impl Content {
    /// Whether what was at the path before cannot be seen any more.
    pub fn replaces(&self) -> bool {
        *self != Self::Same
    }
}

impl Mounts {
    /// Whether the child sees other file systems than PID 1.
    pub fn is_own(&self) -> bool {
        let asked = self.private || self.isolated || self.has_root();
        asked || !self.list.is_empty() || self.credentials.is_some()
    }

    /// Whether a part of it is to be idmapped, for which the child needs a user namespace.
    pub fn is_idmapped(&self) -> bool {
        self.idmapped || self.list.iter().any(|mount| mount.idmapped)
    }

    /// Whether `/` is not that of PID 1.
    pub fn has_root(&self) -> bool {
        self.root.is_some() || self.root_image.is_some()
    }

    /// Refuses what PID 1 could not carry out in this order.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(root) = &self.root {
            absolute("mounts.root", root)?;
        }
        if let Some(image) = &self.root_image {
            image.check("mounts.root_image")?;
            if self.root.is_some() {
                return Err("mounts.root: an image is the root already; give one".into());
            }
        }
        if self.list.len() > MAX_MOUNTS {
            let count = self.list.len();
            return Err(format!("mounts.list: {count} paths; at most {MAX_MOUNTS}"));
        }
        for mount in &self.list {
            mount.check()?;
        }
        let parts = |mount: &Mount| {
            mount
                .target
                .split('/')
                .map(String::from)
                .collect::<Vec<_>>()
        };
        if !self
            .list
            .is_sorted_by(|left, right| parts(left) < parts(right))
        {
            return Err("mounts.list: sort it by target, each one once".into());
        }
        self.credentials
            .as_ref()
            .map_or(Ok(()), super::credential::CredentialFolder::check)
    }
}

impl Mount {
    fn check(&self) -> Result<(), String> {
        let field = "mounts.list";
        absolute(field, &self.target)?;
        let long = self.target.len() > 1 && self.target.ends_with('/');
        if long || self.target.contains("//") || self.target.contains("/./") {
            let target = &self.target;
            return Err(format!("{field}: {target:?} has a slash or dot too many"));
        }
        if self.idmapped && !matches!(self.content, Content::Bind { .. }) {
            return Err(format!("{field}: only a bind can be idmapped"));
        }
        let root = self.target == "/";
        match &self.content {
            Content::Same => Ok(()),
            _ if root => Err(format!("{field}: nothing is mounted on \"/\"; give root")),
            Content::Bind { source, .. } => absolute(field, source),
            Content::Image(image) => image.check(field),
            Content::Tmpfs { options } => line(field, options),
            Content::Proc { hide, .. } => {
                let known = ["noaccess", "invisible", "ptraceable"];
                match hide.as_deref().filter(|hide| !known.contains(hide)) {
                    Some(hide) => Err(format!("{field}: hidepid={hide:?} is not known")),
                    None => Ok(()),
                }
            }
            Content::Inaccessible | Content::Devices | Content::Queues | Content::Cgroups => Ok(()),
        }
    }
}
