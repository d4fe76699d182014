//! The root of an image: packages, what their scripts would have done, overlays, our programs, and the files that
//! the builder alone can write.
//!
//! The order, from below: packages, package entries, kernel modules, overlays (the recipe's lowest first), programs,
//! release and accounts, triggers.

use std::collections::{BTreeMap, BTreeSet};

use archive::tar;
use bytes::Bytes;
use spec_layout::path;
use spec_recipe::{Lock, LockedPackage, Recipe};

use crate::account::Accounts;
use crate::entry::{self, Entries};
use crate::kernel::Kernel;
use crate::package::{Facts, Package};
use crate::release_file::Release;
use crate::tree::{Kind, Node, Tree, canonical};
use crate::trigger::{self, alternatives, tmpfiles, units};
use crate::{Error, Progress, overlay};

/// Folders that something is mounted on, or that every program expects, with their modes.
const FOLDERS: [(&str, u32); 13] = [
    ("boot", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("state", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
];

/// All that a root is made of.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// The recipe.
    pub(crate) recipe: &'a Recipe,
    /// The lock.
    pub(crate) lock: &'a Lock,
    /// The packages, the kernel's apart.
    pub(crate) packages: &'a [Package],
    /// The kernel.
    pub(crate) kernel: &'a Kernel,
    /// What the kernel's package says of itself.
    pub(crate) kernel_facts: &'a Facts,
    /// The package entries.
    pub(crate) entries: &'a Entries,
    /// Overlays with their names, the lowest first.
    pub(crate) overlays: &'a [(String, Vec<overlay::Entry>)],
    /// Our programs: path in the image and content.
    pub(crate) programs: &'a [(&'static str, Bytes)],
    /// What os-release says.
    pub(crate) release: &'a Release,
}

/// Puts the root together.
pub(crate) fn assemble(parts: &Parts<'_>, progress: &dyn Progress) -> Result<Tree, Error> {
    let mut tree = Tree::new(parts.lock.epoch);
    for (path, mode) in FOLDERS {
        tree.make_folder(path, mode);
    }
    let facts: Vec<Facts> = parts
        .packages
        .iter()
        .map(|package| package.facts.clone())
        .chain([parts.kernel_facts.clone()])
        .collect();
    let uncovered: Vec<String> = facts
        .iter()
        .flat_map(|facts| parts.entries.uncovered(facts))
        .collect();
    if !uncovered.is_empty() {
        return Err(Error::Inputs(uncovered));
    }
    let names: Vec<&str> = facts.iter().map(|facts| facts.name.as_str()).collect();
    let entries = parts.entries.of_all(&names);

    let owners = add_packages(parts.packages, &mut tree).map_err(Error::Inputs)?;
    let accounts = gather_accounts(parts, &entries, &tree)?;
    give_owners(&owners, &accounts, &mut tree).map_err(Error::Inputs)?;
    for (stem, entry) in &entries {
        entry::apply(stem, entry, &accounts, &mut tree).map_err(Error::Inputs)?;
    }
    parts.kernel.install(&mut tree).map_err(Error::Input)?;
    for (name, overlay) in parts.overlays {
        overlay::apply(overlay, name, &mut tree).map_err(Error::Inputs)?;
    }
    write_own_files(parts, &accounts, &mut tree).map_err(Error::Input)?;
    run_triggers(parts, &entries, &accounts, &mut tree, progress)?;
    let dangling = tree.dangling_hard_links();
    if dangling.is_empty() {
        Ok(tree)
    } else {
        Err(Error::Inputs(dangling))
    }
}

/// A path whose owner has a name that is not root's.
struct Owner {
    path: String,
    user: String,
    group: String,
    package: String,
}

/// Adds the files of every package; gives the owners that are yet to be looked up.
fn add_packages(packages: &[Package], tree: &mut Tree) -> Result<Vec<Owner>, Vec<String>> {
    let replaces: BTreeMap<String, &BTreeSet<String>> = packages
        .iter()
        .map(|package| (origin(&package.facts), &package.facts.replaces))
        .collect();
    let (mut owners, mut errors) = (Vec::new(), Vec::new());
    for package in packages {
        let origin = origin(&package.facts);
        for (entry, content) in &package.files {
            let node = match node(entry, content, &origin) {
                Ok(node) => node,
                Err(message) => {
                    errors.push(message);
                    continue;
                }
            };
            let there = tree
                .get(&entry.path)
                .filter(|there| there.kind != Kind::Folder)
                .map(|there| there.origin.clone());
            let put = match there {
                Some(there)
                    if package
                        .facts
                        .replaces
                        .iter()
                        .any(|name| *there == *format!("package {name}")) =>
                {
                    tree.replace(&entry.path, node)
                }
                Some(there)
                    if replaces
                        .get(&*there)
                        .is_some_and(|names| names.contains(&package.facts.name)) =>
                {
                    continue;
                }
                _ => tree.add(&entry.path, node),
            };
            errors.extend(put.err());
            if [&entry.user, &entry.group]
                .iter()
                .any(|name| !matches!(name.as_str(), "" | "root"))
            {
                owners.push(Owner {
                    path: canonical(&entry.path).into_owned(),
                    user: entry.user.clone(),
                    group: entry.group.clone(),
                    package: origin.clone(),
                });
            }
        }
    }
    if errors.is_empty() {
        Ok(owners)
    } else {
        Err(errors)
    }
}

fn origin(facts: &Facts) -> String {
    format!("package {}", facts.name)
}

fn node(entry: &tar::Entry, content: &Bytes, origin: &str) -> Result<Node, String> {
    let kind = match &entry.kind {
        tar::Kind::File => Kind::File(content.clone()),
        tar::Kind::Folder => Kind::Folder,
        tar::Kind::Symlink(target) => Kind::Symlink(target.clone()),
        tar::Kind::Hardlink(target) => Kind::HardLink(target.clone()),
        _ => {
            return Err(format!(
                "{origin}: /{} is a device, which no package may bring",
                entry.path
            ));
        }
    };
    Ok(Node {
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        xattrs: entry.xattrs.clone(),
        origin: origin.into(),
    })
}

/// Users and groups, those that overlays bring included.
fn gather_accounts(
    parts: &Parts<'_>,
    entries: &[(&str, &spec_recipe::PackageEntry)],
    tree: &Tree,
) -> Result<Accounts, Error> {
    let mut whole = tree.clone();
    for (name, overlay) in parts.overlays {
        overlay::apply(overlay, name, &mut whole).map_err(Error::Inputs)?;
    }
    let entries: Vec<_> = entries.iter().map(|(_, entry)| *entry).collect();
    Accounts::gather(&whole, &entries, parts.recipe, parts.lock).map_err(Error::Inputs)
}

fn give_owners(owners: &[Owner], accounts: &Accounts, tree: &mut Tree) -> Result<(), Vec<String>> {
    let mut errors = Vec::new();
    for owner in owners {
        let Some(node) = tree.get(&owner.path).cloned() else {
            continue;
        };
        let missing = |kind: &str, name: &str| {
            format!(
                "{}: /{} belongs to {kind} {name}, which nothing makes",
                owner.package, owner.path
            )
        };
        let number =
            |name: &str, number: Option<u32>| if name.is_empty() { Some(0) } else { number };
        match (
            number(&owner.user, accounts.user(&owner.user)),
            number(&owner.group, accounts.group(&owner.group)),
        ) {
            (Some(uid), Some(gid)) => {
                errors.extend(tree.replace(&owner.path, Node { uid, gid, ..node }).err())
            }
            (None, _) => errors.push(missing("user", &owner.user)),
            (_, None) => errors.push(missing("group", &owner.group)),
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// Programs, release, accounts, and what a node fills in by itself.
fn write_own_files(parts: &Parts<'_>, accounts: &Accounts, tree: &mut Tree) -> Result<(), String> {
    for (path, content) in parts.programs {
        tree.make_file(path, 0o755, content.clone())?;
    }
    tree.make_file("usr/lib/os-release", 0o644, parts.release.text())?;
    tree.link("etc/os-release", "../usr/lib/os-release")?;
    tree.make_file(
        path::PACKAGES,
        0o644,
        packages(parts.lock, parts.packages, tree),
    )?;
    tree.make_file("etc/machine-id", 0o444, "")?;
    tree.make_file("etc/passwd", 0o644, accounts.passwd())?;
    tree.make_file("etc/group", 0o644, accounts.group_file())?;
    tree.make_file(path::CLOCK_EPOCH, 0o644, "")
}

/// [`path::PACKAGES`].
fn packages(lock: &Lock, packages: &[Package], tree: &Tree) -> String {
    let changed: BTreeSet<&str> = packages
        .iter()
        .filter(|package| is_changed(package, tree))
        .map(|package| package.facts.name.as_str())
        .collect();
    let line = |package: &LockedPackage| {
        let changed = match changed.contains(package.name.as_str()) {
            true => " changed",
            false => "",
        };
        format!("{} {}{changed}\n", package.name, package.version)
    };
    let mut lines: Vec<String> = lock.packages.iter().map(line).collect();
    lines.sort();
    lines.concat()
}

/// Whether something else stands where the package brings a file.
fn is_changed(package: &Package, tree: &Tree) -> bool {
    let origin = origin(&package.facts);
    let mut files = package
        .files
        .iter()
        .filter(|(entry, _)| entry.kind != tar::Kind::Folder);
    files.any(|(entry, _)| {
        let there = tree.get(&entry.path);
        there.is_some_and(|there| *there.origin != *origin)
    })
}

fn run_triggers(
    parts: &Parts<'_>,
    entries: &[(&str, &spec_recipe::PackageEntry)],
    accounts: &Accounts,
    tree: &mut Tree,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let all: Vec<_> = entries
        .iter()
        .flat_map(|(_, entry)| entry.alternatives.iter().cloned())
        .collect();
    alternatives::run(&all, tree).map_err(Error::Input)?;
    for (stem, entry) in entries {
        for name in &entry.triggers {
            trigger::run(name, &format!("recipes/packages/{stem}.toml"), tree)
                .map_err(Error::Input)?;
        }
    }
    // Lines that have no effect on a node are the packages' business, not a person's.
    tmpfiles::run(tree, accounts, &parts.release.fields()).map_err(Error::Inputs)?;
    let ours = units::are_ours(&parts.recipe.kernel);
    for warning in units::run(&parts.recipe.units, ours, tree).map_err(Error::Inputs)? {
        progress.warn(&warning);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, replaces: &[&str], files: &[(&str, &'static str)]) -> Package {
        Package {
            facts: Facts {
                name: name.into(),
                replaces: replaces.iter().map(|name| name.to_string()).collect(),
                ..Facts::default()
            },
            files: files
                .iter()
                .map(|(path, content)| (tar::Entry::file(path, 0o644), Bytes::from(*content)))
                .collect(),
        }
    }

    #[test]
    fn a_package_may_take_over_what_it_says_it_replaces() {
        let (old, new) = (
            package("a", &[], &[("usr/x", "old")]),
            package("b", &["a"], &[("usr/x", "new")]),
        );
        for order in [[old.clone(), new.clone()], [new.clone(), old.clone()]] {
            let mut tree = Tree::new(0);
            add_packages(&order, &mut tree).unwrap();
            assert_eq!(tree.file("usr/x").unwrap(), "new");
        }
        let stranger = package("c", &[], &[("usr/x", "other")]);
        let messages = add_packages(&[old, stranger], &mut Tree::new(0))
            .err()
            .unwrap();
        assert!(
            messages[0].contains("package a") && messages[0].contains("package c"),
            "{messages:?}"
        );
    }

    #[test]
    fn a_package_that_an_overlay_changed_is_listed_as_changed() {
        let packages = [
            package("a", &[], &[("usr/x", "a"), ("etc/conf", "a")]),
            package("b", &[], &[("usr/y", "b")]),
        ];
        let mut tree = Tree::new(0);
        add_packages(&packages, &mut tree).unwrap();
        assert!(!packages.iter().any(|package| is_changed(package, &tree)));
        let own = tree.own(Kind::File("mine".into()), 0o644);
        tree.replace("etc/conf", own).unwrap();
        let changed: Vec<bool> = packages
            .iter()
            .map(|package| is_changed(package, &tree))
            .collect();
        assert_eq!(changed, [true, false]);
    }

    #[test]
    fn owners_get_their_numbers_and_unknown_ones_are_named() {
        let mut package = package("a", &[], &[("usr/x", "")]);
        package.files[0].0.group = "nogroup".into();
        let mut tree = Tree::new(0);
        let owners = add_packages(&[package.clone()], &mut tree).unwrap();
        give_owners(&owners, &Accounts::default(), &mut tree).unwrap();
        assert_eq!(
            (
                tree.get("usr/x").unwrap().uid,
                tree.get("usr/x").unwrap().gid
            ),
            (0, 65534)
        );
        package.files[0].0.user = "somebody".into();
        let owners = add_packages(&[package], &mut Tree::new(0)).unwrap();
        let messages = give_owners(&owners, &Accounts::default(), &mut tree).unwrap_err();
        assert_eq!(
            messages,
            ["package a: /usr/x belongs to user somebody, which nothing makes"]
        );
    }
}
