//! The package entries of a recipe: `recipes/packages/NAME.toml`, what maintainer scripts would have done.

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use spec_recipe::entry::Script;
use spec_recipe::{FILE_BYTES_MAX, PackageEntry, Recipe};

use crate::Error;
use crate::account::Accounts;
use crate::inputs::sha256;
use crate::package::Facts;
use crate::tree::{Kind, Node, Tree};

/// All entries, by file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entries {
    entries: BTreeMap<String, PackageEntry>,
    digests: BTreeMap<String, String>,
}

impl Entries {
    /// Reads the entries of a recipe; in folders of recipes it extends, a file of the same name counts less.
    pub(crate) fn read(recipe: &Recipe) -> Result<Entries, Error> {
        let mut entries = Entries::default();
        for folder in recipe
            .entry_folders()
            .into_iter()
            .rev()
            .filter(|folder| folder.is_dir())
        {
            for item in fs::read_dir(&folder).map_err(Error::file("read", &folder))? {
                let path = item.map_err(Error::file("read", &folder))?.path();
                let stem = path
                    .file_stem()
                    .and_then(|stem| stem.to_str())
                    .unwrap_or_default()
                    .to_owned();
                if path.extension().is_none_or(|extension| extension != "toml") || stem.is_empty() {
                    continue;
                }
                let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
                let shown = path.display().to_string();
                if text.len() > FILE_BYTES_MAX {
                    return Err(Error::Input(format!(
                        "{shown} is larger than {FILE_BYTES_MAX} bytes"
                    )));
                }
                let entry = PackageEntry::parse(&shown, &text)
                    .map_err(|error| Error::Input(error.to_string()))?;
                entries
                    .digests
                    .insert(format!("{stem}.toml"), sha256(text.as_bytes()));
                entries.entries.insert(stem, entry);
            }
        }
        Ok(entries)
    }

    /// SHA-256 of each file.
    pub(crate) fn digests(&self) -> BTreeMap<String, String> {
        self.digests.clone()
    }

    /// The entries that speak of a package, with the names of their files.
    pub(crate) fn of<'a>(
        &'a self,
        package: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a PackageEntry)> {
        self.entries
            .iter()
            .filter(move |(stem, entry)| entry.covers(stem, package))
            .map(|(stem, entry)| (stem.as_str(), entry))
    }

    /// The entries that speak of any of these packages, each once, with the names of their files.
    pub(crate) fn of_all<'a>(&'a self, packages: &[&str]) -> Vec<(&'a str, &'a PackageEntry)> {
        let speaks = |stem: &str, entry: &PackageEntry| {
            packages.iter().any(|package| entry.covers(stem, package))
        };
        self.entries
            .iter()
            .filter(|(stem, entry)| speaks(stem, entry))
            .map(|(stem, entry)| (stem.as_str(), entry))
            .collect()
    }

    /// Scripts of a package that run at installation and that no entry was written for.
    pub(crate) fn uncovered(&self, facts: &Facts) -> Vec<String> {
        let covered = |script: &Script| {
            self.of(&facts.name)
                .any(|(_, entry)| entry.scripts.contains(script))
        };
        let open = facts
            .scripts
            .iter()
            .filter(|script| script.installs() && !covered(script));
        open.map(|script| {
            format!(
                "package {} has a {} script that recipes/packages/ does not cover: read it (dpkg-deb --ctrl-tarfile) and \
                 write recipes/packages/{}.toml, or exclude the package",
                facts.name,
                script.name(),
                facts.name
            )
        })
        .collect()
    }
}

/// Does in the tree what an entry says.
pub(crate) fn apply(
    stem: &str,
    entry: &PackageEntry,
    accounts: &Accounts,
    tree: &mut Tree,
) -> Result<(), Vec<String>> {
    let origin = format!("recipes/packages/{stem}.toml");
    let mut errors = Vec::new();
    let owned = |user: &str, group: &str| {
        let uid = accounts
            .user(user)
            .ok_or_else(|| format!("{origin}: there is no user {user}"))?;
        let gid = accounts
            .group(group)
            .ok_or_else(|| format!("{origin}: there is no group {group}"))?;
        Ok::<_, String>((uid, gid))
    };
    let mut put = |path: &str, mode: u32, kind: Kind, owner: Result<(u32, u32), String>| {
        let done = owner.and_then(|(uid, gid)| {
            let node = Node {
                uid,
                gid,
                origin: origin.as_str().into(),
                ..tree.own(kind, mode)
            };
            tree.replace(path, node)
        });
        errors.extend(done.err());
    };
    for folder in &entry.folders {
        put(
            &folder.path,
            folder.mode.0,
            Kind::Folder,
            owned(&folder.user, &folder.group),
        );
    }
    for file in &entry.files {
        put(
            &file.path,
            file.mode.0,
            Kind::File(Bytes::from(file.content.clone())),
            owned(&file.user, &file.group),
        );
    }
    for link in &entry.links {
        put(
            &link.path,
            0o777,
            Kind::Symlink(link.target.clone()),
            Ok((0, 0)),
        );
    }
    for drop_in in &entry.drop_ins {
        let path = format!(
            "/usr/lib/systemd/system/{}.d/{}.conf",
            drop_in.unit, drop_in.name
        );
        put(
            &path,
            0o644,
            Kind::File(Bytes::from(drop_in.content.clone())),
            Ok((0, 0)),
        );
    }
    if !entry.tmpfiles.is_empty() {
        let lines: String = entry
            .tmpfiles
            .iter()
            .map(|line| format!("{line}\n"))
            .collect();
        put(
            &format!("/usr/lib/tmpfiles.d/{stem}.entry.conf"),
            0o644,
            Kind::File(Bytes::from(lines)),
            Ok((0, 0)),
        );
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &str, scripts: &[Script]) -> Facts {
        Facts {
            name: name.into(),
            scripts: scripts.iter().copied().collect(),
            ..Facts::default()
        }
    }

    fn entries(stem: &str, text: &str) -> Entries {
        let entries = BTreeMap::from([(stem.to_owned(), PackageEntry::parse(stem, text).unwrap())]);
        Entries {
            entries,
            ..Entries::default()
        }
    }

    #[test]
    fn a_script_without_an_entry_is_reported() {
        let entries = entries(
            "etcd-server",
            "reason = \"user\"\nscripts = [\"postinst\"]\n",
        );
        assert!(
            entries
                .uncovered(&facts("etcd-server", &[Script::Postinst, Script::Prerm]))
                .is_empty()
        );
        let messages = entries.uncovered(&facts("etcd-server", &[Script::Preinst]));
        assert!(
            messages[0].starts_with("package etcd-server has a preinst script"),
            "{messages:?}"
        );
        assert_eq!(
            entries
                .uncovered(&facts("other", &[Script::Postinst]))
                .len(),
            1
        );
    }

    #[test]
    fn an_entry_is_done_in_the_tree() {
        let text = "reason = \"x\"\ntmpfiles = [\"d /var/lib/x 0700 root root -\"]\n\
                    [[files]]\npath = \"/etc/x\"\ncontent = \"\"\"\nbody\n\"\"\"\nmode = \"0600\"\n\
                    [[links]]\npath = \"/etc/y\"\ntarget = \"x\"\n\
                    [[drop_ins]]\nunit = \"x.service\"\nname = \"ours\"\ncontent = \"[Service]\"\n";
        let entries = entries("x", text);
        let mut tree = Tree::new(0);
        let (stem, entry) = entries.of("x").next().unwrap();
        apply(stem, entry, &Accounts::default(), &mut tree).unwrap();
        assert_eq!(tree.text("etc/y"), Some("body\n"));
        assert_eq!(tree.get("etc/x").unwrap().mode, 0o600);
        assert!(
            tree.get("usr/lib/systemd/system/x.service.d/ours.conf")
                .is_some()
        );
        assert_eq!(
            tree.text("usr/lib/tmpfiles.d/x.entry.conf"),
            Some("d /var/lib/x 0700 root root -\n")
        );
    }

    #[test]
    fn an_unknown_owner_is_named() {
        let entries = entries(
            "x",
            "reason = \"x\"\n[[folders]]\npath = \"/x\"\nuser = \"nobody-here\"\n",
        );
        let (stem, entry) = entries.of("x").next().unwrap();
        let messages = apply(stem, entry, &Accounts::default(), &mut Tree::new(0)).unwrap_err();
        assert_eq!(
            messages,
            ["recipes/packages/x.toml: there is no user nobody-here"]
        );
    }
}
