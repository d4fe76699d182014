//! Users and groups of the image: /etc/passwd and /etc/group, with the numbers of the lock.
//!
//! They come from sysusers.d(5) of packages and overlays, from package entries and from the recipe. There is no
//! /etc/shadow: nobody logs in with a password.

use std::collections::{BTreeMap, BTreeSet};

use spec_recipe::entry::User;
use spec_recipe::{Lock, PackageEntry, Recipe};

use crate::asked::Asked;
use crate::tree::Tree;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
    gecos: String,
    home: String,
    shell: String,
}

/// All users and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accounts {
    users: BTreeMap<String, Account>,
    groups: BTreeMap<String, (u32, BTreeSet<String>)>,
}

impl Default for Accounts {
    /// root and nobody, which every system has.
    fn default() -> Accounts {
        let account = |id, gecos: &str, home: &str| Account {
            uid: id,
            gid: id,
            gecos: gecos.into(),
            home: home.into(),
            shell: "/usr/sbin/nologin".into(),
        };
        Accounts {
            users: BTreeMap::from([
                ("root".into(), account(0, "root", "/root")),
                ("nobody".into(), account(65534, "nobody", "/nonexistent")),
            ]),
            groups: BTreeMap::from([
                ("root".into(), (0, BTreeSet::new())),
                ("nogroup".into(), (65534, BTreeSet::new())),
            ]),
        }
    }
}

impl Accounts {
    /// Gathers everyone; a name without a number in the lock is an error.
    pub(crate) fn gather(
        tree: &Tree,
        entries: &[&PackageEntry],
        recipe: &Recipe,
        lock: &Lock,
    ) -> Result<Accounts, Vec<String>> {
        let mut asked = Asked::default();
        let mut errors = Vec::new();
        for (path, text) in sysusers_files(tree) {
            errors.extend(
                asked
                    .sysusers(&path, text)
                    .err()
                    .map(|error| error.to_string()),
            );
        }
        entries.iter().for_each(|entry| asked.entry(entry));
        asked.recipe(recipe);
        let mut accounts = Accounts::default();
        accounts.take(asked, lock, &mut errors);
        if errors.is_empty() {
            Ok(accounts)
        } else {
            Err(errors)
        }
    }

    fn take(&mut self, asked: Asked, lock: &Lock, errors: &mut Vec<String>) {
        let missing = |kind: &str, name: &str| {
            format!("{kind} {name} has no number in the lock: `bedplate lock` gives it one")
        };
        for group in asked.groups {
            match lock.groups.get(&group.name).copied().or(group.gid) {
                Some(gid) => drop(
                    self.groups
                        .entry(group.name)
                        .or_insert((gid, BTreeSet::new())),
                ),
                None => errors.push(missing("group", &group.name)),
            }
        }
        for user in asked.users {
            let group = user.group.clone().unwrap_or_else(|| user.name.clone());
            if !self.groups.contains_key(&group)
                && let Some(gid) = lock
                    .groups
                    .get(&group)
                    .copied()
                    .or(if user.group.is_none() { user.uid } else { None })
            {
                self.groups.insert(group.clone(), (gid, BTreeSet::new()));
            }
            let uid = lock.users.get(&user.name).copied().or(user.uid);
            match (uid, self.group(&group)) {
                (Some(uid), Some(gid)) => {
                    let User {
                        name,
                        gecos,
                        home,
                        shell,
                        ..
                    } = user.clone();
                    self.users.entry(name).or_insert(Account {
                        uid,
                        gid,
                        gecos,
                        home,
                        shell,
                    });
                }
                (None, _) => errors.push(missing("user", &user.name)),
                (_, None) => errors.push(missing("group", &group)),
            }
            let others = user
                .groups
                .iter()
                .map(|group| (user.name.clone(), group.clone()));
            others.for_each(|(user, group)| self.join(&user, &group, lock, errors));
        }
        asked
            .members
            .iter()
            .for_each(|(user, group)| self.join(user, group, lock, errors));
    }

    /// Puts a user into a group; one that the lock numbers is made.
    fn join(&mut self, user: &str, group: &str, lock: &Lock, errors: &mut Vec<String>) {
        if let Some(gid) = lock.groups.get(group) {
            self.groups
                .entry(group.to_owned())
                .or_insert((*gid, BTreeSet::new()));
        }
        match self.groups.get_mut(group) {
            Some((_, members)) => drop(members.insert(user.to_owned())),
            None => errors.push(format!(
                "user {user} is to join group {group}, which nothing makes"
            )),
        }
    }

    /// Number of a user.
    pub(crate) fn user(&self, name: &str) -> Option<u32> {
        self.users.get(name).map(|account| account.uid)
    }

    /// Number of a group.
    pub(crate) fn group(&self, name: &str) -> Option<u32> {
        self.groups.get(name).map(|(gid, _)| *gid)
    }

    /// Text of /etc/passwd, by number.
    pub(crate) fn passwd(&self) -> String {
        let mut rows: Vec<_> = self.users.iter().collect();
        rows.sort_by_key(|(name, account)| (account.uid, *name));
        let line = |(name, a): (&String, &Account)| {
            format!(
                "{name}:*:{}:{}:{}:{}:{}\n",
                a.uid, a.gid, a.gecos, a.home, a.shell
            )
        };
        rows.into_iter().map(line).collect()
    }

    /// Text of /etc/group, by number.
    pub(crate) fn group_file(&self) -> String {
        let mut rows: Vec<_> = self.groups.iter().collect();
        rows.sort_by_key(|(name, (gid, _))| (*gid, *name));
        let line = |(name, (gid, members)): (&String, &(u32, BTreeSet<String>))| {
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            format!("{name}:*:{gid}:{}\n", members.join(","))
        };
        rows.into_iter().map(line).collect()
    }
}

/// sysusers.d in order of file names; a file in /etc hides one of the same name in /usr.
fn sysusers_files(tree: &Tree) -> Vec<(String, &str)> {
    let mut files = BTreeMap::new();
    for folder in ["usr/lib/sysusers.d", "etc/sysusers.d"] {
        for (name, _) in tree
            .folder(folder)
            .filter(|(name, _)| name.ends_with(".conf"))
        {
            let path = format!("/{folder}/{name}");
            let text = tree.text(&path).unwrap_or_default();
            files.insert(name.to_owned(), (path, text));
        }
    }
    files.into_values().collect()
}
