//! Options= of a mount: for the kernel by bits, for the file system by text, for programs by name. mount(8), fstab(5).

use crate::plan::mount_point::{BIND, MOVE, NO_DEV, NO_EXEC, NO_SUID, RECURSIVE, REMOUNT};

/// Options=, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `MS_*`.
    pub flags: u32,
    /// `MS_SHARED` and its like.
    pub propagation: Vec<u32>,
    /// The rest, for the file system.
    pub data: String,
    /// `_netdev`.
    pub netdev: bool,
    /// `nofail`.
    pub nofail: bool,
    /// `x-systemd.wanted-by=` or `x-systemd.required-by=`.
    pub wanted_elsewhere: bool,
    /// `x-systemd.device-bound`.
    pub device_bound: Option<bool>,
}

/// Words that set bits, and words that take them back (mount(2), linux/mount.h).
const BITS: &[(&str, u32, bool)] = &[
    ("ro", 1, true),
    ("rw", 1, false),
    ("nosuid", NO_SUID, true),
    ("suid", NO_SUID, false),
    ("nodev", NO_DEV, true),
    ("dev", NO_DEV, false),
    ("noexec", NO_EXEC, true),
    ("exec", NO_EXEC, false),
    ("sync", 16, true),
    ("async", 16, false),
    ("remount", REMOUNT, true),
    ("mand", 64, true),
    ("nomand", 64, false),
    ("dirsync", 128, true),
    ("nosymfollow", 256, true),
    ("symfollow", 256, false),
    ("noatime", 1 << 10, true),
    ("atime", 1 << 10, false),
    ("nodiratime", 1 << 11, true),
    ("diratime", 1 << 11, false),
    ("bind", BIND, true),
    ("rbind", BIND | RECURSIVE, true),
    ("move", MOVE, true),
    ("silent", 1 << 15, true),
    ("loud", 1 << 15, false),
    ("relatime", 1 << 21, true),
    ("norelatime", 1 << 21, false),
    ("iversion", 1 << 23, true),
    ("noiversion", 1 << 23, false),
    ("strictatime", 1 << 24, true),
    ("nostrictatime", 1 << 24, false),
    ("lazytime", 1 << 25, true),
    ("nolazytime", 1 << 25, false),
];

/// How later mounts and unmounts go on to copies of the tree.
const PROPAGATION: &[(&str, u32)] = &[
    ("unbindable", 1 << 17),
    ("runbindable", 1 << 17 | RECURSIVE),
    ("private", 1 << 18),
    ("rprivate", 1 << 18 | RECURSIVE),
    ("slave", 1 << 19),
    ("rslave", 1 << 19 | RECURSIVE),
    ("shared", 1 << 20),
    ("rshared", 1 << 20 | RECURSIVE),
];

/// What mount(8) and systemd read and no kernel does.
const FOR_PROGRAMS: [&str; 10] = [
    "defaults", "auto", "noauto", "nouser", "nousers", "noowner", "nogroup", "nofail", "_netdev",
    "comment",
];
/// Who else may mount it: nobody may, on a node; but what follows for the mount stays, unless it is taken back.
const FOR_USERS: [(&str, u32); 4] = [
    ("user", NO_EXEC | NO_SUID | NO_DEV),
    ("users", NO_EXEC | NO_SUID | NO_DEV),
    ("owner", NO_SUID | NO_DEV),
    ("group", NO_SUID | NO_DEV),
];
/// What takes a program, a loop device or a mapped one.
const NEED_A_PROGRAM: [&str; 9] = [
    "loop",
    "offset",
    "sizelimit",
    "encryption",
    "helper",
    "uhelper",
    "use",
    "vers_helper",
    "subdir",
];

/// File systems that are mounted over the network, as systemd knows them.
const NETWORK: [&str; 18] = [
    "afs",
    "ceph",
    "cifs",
    "gfs",
    "gfs2",
    "ncp",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "pvfs2",
    "smb3",
    "smbfs",
    "davfs",
    "glusterfs",
    "lustre",
    "sshfs",
];
/// File systems that the kernel mounts only with what a program of theirs finds out, and the option that has it.
const HELPED: [(&str, &str); 5] = [
    ("nfs", "addr="),
    ("nfs4", "addr="),
    ("cifs", "ip="),
    ("smb3", "ip="),
    ("fuse", "fd="),
];

/// Takes options apart. A later one goes before an earlier one.
pub fn parse(text: &str) -> Result<Options, String> {
    let mut options = Options::default();
    let mut data: Vec<&str> = Vec::new();
    for option in split(text) {
        let (name, argument) = option
            .split_once('=')
            .map_or((option, None), |(name, argument)| (name, Some(argument)));
        let bits = BITS.iter().find(|(word, ..)| *word == option);
        if let Some((_, bits, on)) = bits {
            options.flags = if *on {
                options.flags | bits
            } else {
                options.flags & !bits
            };
        } else if let Some((_, bits)) = PROPAGATION.iter().find(|(word, _)| *word == option) {
            options.propagation.push(*bits);
        } else if let Some((_, bits)) = FOR_USERS.iter().find(|(word, _)| *word == option) {
            options.flags |= bits;
        } else if NEED_A_PROGRAM.contains(&name)
            || name.starts_with("verity.")
            || name.starts_with("X-mount.") && name != "X-mount.mkdir"
        {
            return Err(format!(
                "{option} needs mount(8), which a node does not have; take it out"
            ));
        } else if FOR_PROGRAMS.contains(&name) || name.starts_with("x-") || name.starts_with("X-") {
            options.note(name, argument)?;
        } else if !option.is_empty() {
            data.push(option);
        }
    }
    options.data = data.join(",");
    Ok(options)
}

impl Options {
    fn note(&mut self, name: &str, argument: Option<&str>) -> Result<(), String> {
        match name {
            "nofail" => self.nofail = true,
            "_netdev" => self.netdev = true,
            "x-systemd.wanted-by" | "x-systemd.required-by" => self.wanted_elsewhere = true,
            "x-systemd.device-bound" => {
                let bound = argument.map_or(Ok(true), crate::value::boolean)?;
                self.device_bound = Some(bound);
            }
            _ => {}
        }
        Ok(())
    }
}

/// At commas outside of quotes, as mount(8) does for contexts such as `context="a,b"`.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
    .map(str::trim)
}

/// Whether a file system of this type needs the network.
pub fn is_network(kind: &str) -> bool {
    let kind = kind.strip_prefix("fuse.").unwrap_or(kind);
    NETWORK.contains(&kind)
}

/// Refuses a file system that only its own program can mount.
pub fn check_kind(kind: &str, options: &Options) -> Result<(), String> {
    let family = kind.split('.').next().unwrap_or(kind);
    let needed = match kind {
        "davfs" | "glusterfs" | "sshfs" | "ntfs-3g" | "lustre" | "swap" => Some(None),
        _ => HELPED
            .iter()
            .find(|(known, _)| *known == family)
            .map(|(_, option)| Some(*option)),
    };
    let Some(option) = needed else {
        return Ok(());
    };
    let has = |option: &str| split(&options.data).any(|own| own.starts_with(option));
    match option {
        Some(option) if has(option) => Ok(()),
        Some(option) => Err(format!(
            "Type={kind} needs mount.{kind}, which a node does not have; the kernel alone can if Options= has {option}"
        )),
        None => Err(format!(
            "Type={kind} cannot be mounted by the kernel, and a node has no mount.{kind}"
        )),
    }
}

/// The link below /dev of a tag such as `LABEL=data`; anything else is as it is.
pub fn node_of_tag(what: &str) -> String {
    const TAGS: [(&str, &str); 4] = [
        ("LABEL=", "label"),
        ("UUID=", "uuid"),
        ("PARTUUID=", "partuuid"),
        ("PARTLABEL=", "partlabel"),
    ];
    let found = TAGS
        .iter()
        .find_map(|(tag, folder)| Some((what.strip_prefix(tag)?, folder)));
    match found {
        Some((value, folder)) => {
            let value = value.trim_matches('"');
            format!("/dev/disk/by-{folder}/{}", encode(value))
        }
        None => what.into(),
    }
}

/// As udev writes a label into a link.
fn encode(label: &str) -> String {
    let mut out = String::new();
    for letter in label.chars() {
        match letter {
            letter if letter.is_ascii_alphanumeric() || "#+-.:=@_".contains(letter) => {
                out.push(letter)
            }
            letter if letter.is_ascii() => out.push_str(&format!("\\x{:02x}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out
}
