//! What a package's maintainer scripts would have done: `recipes/packages/NAME.toml`.
//!
//! No maintainer script ever runs, so an image for another architecture builds anywhere. A package whose scripts
//! do something that a node needs has it written here as data; a package whose scripts do nothing that a node
//! needs has an entry that says so. The builder reports a script that no entry covers.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Error, Pattern, error, name};

/// One entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PackageEntry {
    /// Package names it speaks of, as patterns; the file's name alone if not given.
    pub packages: Vec<Pattern>,
    /// What the scripts do and why this entry is the same for a node, in a sentence or two; never empty.
    pub reason: String,
    /// Scripts that were read for this entry: `preinst`, `postinst`, `prerm`, `postrm`, `config`.
    pub scripts: BTreeSet<Script>,
    /// Users made.
    pub users: Vec<User>,
    /// Groups made.
    pub groups: Vec<Group>,
    /// Folders made in the root.
    pub folders: Vec<Folder>,
    /// Files written in the root.
    pub files: Vec<File>,
    /// Symbolic links made in the root.
    pub links: Vec<Link>,
    /// Drop-ins of units, at `/usr/lib/systemd/system/UNIT.d/NAME.conf`.
    pub drop_ins: Vec<DropIn>,
    /// tmpfiles.d(5) lines.
    pub tmpfiles: Vec<String>,
    /// Alternatives registered (update-alternatives(1)); the highest priority wins.
    pub alternatives: Vec<Alternative>,
    /// Triggers that run once all packages are in place: `ca-certificates`, `ld-so-cache`, `modules`.
    pub triggers: BTreeSet<String>,
    /// Paths of the package that do not enter the root.
    pub drop: Vec<Pattern>,
}

/// A maintainer script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Script {
    /// Before unpacking.
    Preinst,
    /// After unpacking.
    Postinst,
    /// Before removing; never of interest to an image.
    Prerm,
    /// After removing; never of interest to an image.
    Postrm,
    /// debconf's questions.
    Config,
}

impl Script {
    /// The script's file name in the control archive.
    pub fn name(self) -> &'static str {
        match self {
            Script::Preinst => "preinst",
            Script::Postinst => "postinst",
            Script::Prerm => "prerm",
            Script::Postrm => "postrm",
            Script::Config => "config",
        }
    }

    /// The script of that file name.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Script::Preinst,
            Script::Postinst,
            Script::Prerm,
            Script::Postrm,
            Script::Config,
        ]
        .into_iter()
        .find(|script| script.name() == name)
    }

    /// Whether it runs when a package is installed. Those that run at removal never matter to an image.
    pub fn installs(self) -> bool {
        !matches!(self, Script::Prerm | Script::Postrm)
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Name.
    pub name: String,
    /// Number, where it is fixed by convention; else the lock gives one.
    pub uid: Option<u32>,
    /// Primary group; one of the same name is made if not given.
    pub group: Option<String>,
    /// Further groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Full name.
    #[serde(default)]
    pub gecos: String,
    /// Home folder.
    #[serde(default = "nonexistent")]
    pub home: String,
    /// Login shell.
    #[serde(default = "nologin")]
    pub shell: String,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Number, where it is fixed by convention; else the lock gives one.
    pub gid: Option<u32>,
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Absolute path.
    pub path: String,
    /// Mode, octal ("0755").
    #[serde(default = "folder_mode")]
    pub mode: Mode,
    /// Owner.
    #[serde(default = "root")]
    pub user: String,
    /// Group.
    #[serde(default = "root")]
    pub group: String,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Absolute path.
    pub path: String,
    /// Its text.
    pub content: String,
    /// Mode, octal ("0644").
    #[serde(default = "file_mode")]
    pub mode: Mode,
    /// Owner.
    #[serde(default = "root")]
    pub user: String,
    /// Group.
    #[serde(default = "root")]
    pub group: String,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Absolute path.
    pub path: String,
    /// What it points to.
    pub target: String,
}

/// A drop-in of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropIn {
    /// The unit.
    pub unit: String,
    /// File name without `.conf`.
    pub name: String,
    /// Its text.
    pub content: String,
}

/// One alternative, as update-alternatives(1) calls its parts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alternative {
    /// The generic path (`/usr/bin/awk`).
    pub link: String,
    /// Its name (`awk`).
    pub name: String,
    /// The alternative (`/usr/bin/mawk`).
    pub path: String,
    /// Its priority.
    pub priority: i32,
}

/// A mode, written in octal as a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mode(pub u32);

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o7777 && text.len() <= 5 && !text.starts_with('+') => {
                Ok(Mode(mode))
            }
            _ => Err(format!("\"{text}\" is no mode, such as \"0644\"")),
        }
    }
}

fn root() -> String {
    "root".to_owned()
}
fn nonexistent() -> String {
    "/nonexistent".to_owned()
}
fn nologin() -> String {
    "/usr/sbin/nologin".to_owned()
}
fn folder_mode() -> Mode {
    Mode(0o755)
}
fn file_mode() -> Mode {
    Mode(0o644)
}

impl User {
    /// Whether every field can stand in /etc/passwd.
    pub(crate) fn check(&self) -> Result<(), String> {
        name::user(&self.name)?;
        self.groups
            .iter()
            .chain(&self.group)
            .try_for_each(|group| name::user(group))?;
        for (field, value) in [
            ("gecos", &self.gecos),
            ("home", &self.home),
            ("shell", &self.shell),
        ] {
            if value.len() > 256 || value.contains([':', '\n', '\0']) {
                return Err(format!(
                    "user {}: {field} must be short and without colon and line feed",
                    self.name
                ));
            }
        }
        number(&self.name, self.uid)
    }
}

impl Group {
    /// Whether it can stand in /etc/group.
    pub(crate) fn check(&self) -> Result<(), String> {
        name::user(&self.name)?;
        number(&self.name, self.gid)
    }
}

/// System numbers are below 1000; 65534 is nobody.
fn number(name: &str, number: Option<u32>) -> Result<(), String> {
    match number {
        Some(number) if number >= 1000 && number != 65534 => {
            Err(format!("{name}: {number} is no system number (below 1000)"))
        }
        _ => Ok(()),
    }
}

impl PackageEntry {
    /// Reads one file. `file` is only named in messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let entry: PackageEntry = error::read(file, text)?;
        entry
            .check()
            .map_err(|message| Error::whole(file, message))?;
        Ok(entry)
    }

    /// Whether the entry of the file `stem`.toml speaks of `package`.
    pub fn covers(&self, stem: &str, package: &str) -> bool {
        if self.packages.is_empty() {
            stem == package
        } else {
            self.packages.iter().any(|pattern| pattern.matches(package))
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.reason.trim().is_empty() {
            return Err("reason must say what the scripts do".to_owned());
        }
        self.users.iter().try_for_each(User::check)?;
        self.groups.iter().try_for_each(Group::check)?;
        let owned = self
            .folders
            .iter()
            .map(|f| (&f.path, &f.user, &f.group))
            .chain(self.files.iter().map(|f| (&f.path, &f.user, &f.group)));
        for (path, user, group) in owned {
            name::path(path)?;
            name::user(user)?;
            name::user(group)?;
        }
        for link in &self.links {
            name::path(&link.path)?;
            if link.target.is_empty() || link.target.contains('\0') {
                return Err(format!("link {}: an empty target", link.path));
            }
        }
        for drop_in in &self.drop_ins {
            name::unit(&drop_in.unit)?;
            name::identifier(&drop_in.name)?;
        }
        for alternative in &self.alternatives {
            name::path(&alternative.link)?;
            name::path(&alternative.path)?;
        }
        self.triggers
            .iter()
            .try_for_each(|trigger| name::identifier(trigger))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_what_the_scripts_would_have_done() {
        let text = r#"
            reason = "Makes the user and its data folder."
            scripts = ["postinst", "postrm"]
            tmpfiles = ["d /var/lib/etcd 0700 etcd etcd"]
            [[users]]
            name = "etcd"
            home = "/var/lib/etcd"
            [[drop_ins]]
            unit = "etcd.service"
            name = "restart"
            content = "[Service]\nRestart=always\n"
        "#;
        let entry = PackageEntry::parse("etcd-server.toml", text).expect("a good entry");
        assert!(entry.covers("etcd-server", "etcd-server"));
        assert!(!entry.covers("etcd-server", "etcd-client"));
        assert_eq!(entry.users[0].shell, "/usr/sbin/nologin");
        assert!(entry.scripts.contains(&Script::Postinst));
    }

    #[test]
    fn an_entry_may_speak_of_many_packages() {
        let text = "packages = [\"linux-image-6.*\"]\nreason = \"Hooks for boot loaders.\"\n";
        let entry = PackageEntry::parse("linux-image.toml", text).expect("a good entry");
        assert!(entry.covers("linux-image", "linux-image-6.12.107+deb13-cloud-amd64"));
        assert!(!entry.covers("linux-image", "linux-image-cloud-amd64"));
    }

    #[test]
    fn a_wrong_entry_is_refused() {
        let refused = |text: &str| {
            PackageEntry::parse("x.toml", text)
                .expect_err("must be refused")
                .to_string()
        };
        assert!(
            refused("reason = \"x\"\nscript = []\n")
                .starts_with("x.toml:2:1: unknown field `script`")
        );
        assert!(refused("reason = \" \"").contains("reason must say"));
        assert!(refused("scripts = []").contains("reason must say"));
        assert!(
            refused("reason = \"x\"\n[[files]]\npath = \"/a/../b\"\ncontent = \"\"")
                .contains("without empty parts")
        );
        assert!(
            refused("reason = \"x\"\n[[files]]\npath = \"/a\"\ncontent = \"\"\nmode = \"99\"")
                .contains("is no mode")
        );
        assert!(refused("reason = \"x\"\n[[users]]\nname = \"a:b\"").contains("is no user"));
        assert!(
            refused("reason = \"x\"\n[[users]]\nname = \"a\"\nuid = 61184")
                .contains("no system number")
        );
    }
}
