//! Numbers of users and groups: kept from lock to lock, since files on a fleet's disks belong to numbers.

use std::collections::{BTreeMap, BTreeSet};

use crate::asked::Asked;

/// Numbers that Debian's base-passwd gives to groups; the same here, so that device nodes and files look alike.
const KNOWN_GROUPS: &[(&str, u32)] = &[
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("lp", 7),
    ("mail", 8),
    ("kmem", 15),
    ("dialout", 20),
    ("fax", 21),
    ("voice", 22),
    ("cdrom", 24),
    ("floppy", 25),
    ("tape", 26),
    ("sudo", 27),
    ("audio", 29),
    ("backup", 34),
    ("operator", 37),
    ("src", 40),
    ("shadow", 42),
    ("utmp", 43),
    ("video", 44),
    ("sasl", 45),
    ("plugdev", 46),
    ("staff", 50),
    ("games", 60),
    ("users", 100),
];
/// Others are numbered from the top down, as systemd-sysusers does.
const FIRST: u32 = 999;
const LAST: u32 = 101;

/// Numbers by name.
pub(crate) type Numbers = BTreeMap<String, u32>;

/// Who needs a number.
#[derive(Debug, Default)]
struct Names {
    /// Users with the number that somebody fixed, and whether a group of their name comes with them.
    users: BTreeMap<String, (Option<u32>, bool)>,
    groups: BTreeMap<String, Option<u32>>,
}

impl Names {
    fn of(asked: &Asked) -> Names {
        let mut names = Names::default();
        names.add_user("root", Some(0), None);
        names.add_user("nobody", Some(65534), Some("nogroup"));
        names.add_group("nogroup", Some(65534));
        for user in &asked.users {
            names.add_user(&user.name, user.uid, user.group.as_deref());
            user.groups
                .iter()
                .for_each(|group| names.add_group(group, None));
        }
        for group in &asked.groups {
            names.add_group(&group.name, group.gid);
        }
        for (_, group) in &asked.members {
            names.add_group(group, None);
        }
        names.fix_groups();
        names
    }

    fn add_user(&mut self, name: &str, uid: Option<u32>, group: Option<&str>) {
        let user = self.users.entry(name.to_owned()).or_insert((None, false));
        user.0 = user.0.or(uid);
        match group {
            Some(group) => drop(self.groups.entry(group.to_owned()).or_default()),
            None => user.1 = true,
        }
    }

    fn add_group(&mut self, name: &str, gid: Option<u32>) {
        let known = self.groups.entry(name.to_owned()).or_default();
        *known = known.or(gid);
    }

    /// Numbers that groups have from their user or by convention.
    fn fix_groups(&mut self) {
        for (name, (uid, own)) in &self.users {
            if *own {
                let gid = self.groups.entry(name.clone()).or_default();
                *gid = gid.or(*uid);
            }
        }
        for (name, gid) in &mut self.groups {
            let known = KNOWN_GROUPS.iter().find(|(known, _)| known == name);
            *gid = gid.or(known.map(|(_, gid)| *gid));
        }
    }
}

/// Gives everybody a number. Those of the old lock stay, also of names that nobody asks for any more: their files
/// may still lie on a state partition.
pub(crate) fn number(
    asked: &Asked,
    old_users: &Numbers,
    old_groups: &Numbers,
) -> Result<(Numbers, Numbers), String> {
    let names = Names::of(asked);
    let mut users = Given::new("user", old_users);
    let mut groups = Given::new("group", old_groups);
    for (name, (uid, _)) in &names.users {
        users.fix(name, *uid)?;
    }
    for (name, gid) in &names.groups {
        groups.fix(name, *gid)?;
    }
    for (name, (_, own)) in &names.users {
        users.next(name, if *own { Some(&mut groups) } else { None })?;
    }
    for name in names.groups.keys() {
        groups.next(name, None)?;
    }
    Ok((users.numbers, groups.numbers))
}

/// Numbers given so far.
struct Given {
    kind: &'static str,
    numbers: Numbers,
    taken: BTreeSet<u32>,
}

impl Given {
    fn new(kind: &'static str, old: &Numbers) -> Self {
        Given {
            kind,
            numbers: old.clone(),
            taken: old.values().copied().collect(),
        }
    }

    /// A number that a package or recipe fixes, unless the lock has given one before.
    fn fix(&mut self, name: &str, number: Option<u32>) -> Result<(), String> {
        let Some(number) = number.filter(|_| !self.numbers.contains_key(name)) else {
            return Ok(());
        };
        if let Some((other, _)) = self.numbers.iter().find(|(_, taken)| **taken == number) {
            return Err(format!(
                "{} {name} is to have number {number}, which {other} has; fix another in the recipe's users or groups",
                self.kind
            ));
        }
        self.give(name, number);
        Ok(())
    }

    fn give(&mut self, name: &str, number: u32) {
        self.taken.insert(number);
        self.numbers.insert(name.to_owned(), number);
    }

    /// The next free number; the same for a user and the group of its name where that has none yet.
    fn next(&mut self, name: &str, pair: Option<&mut Given>) -> Result<(), String> {
        let paired = pair
            .as_ref()
            .and_then(|pair| pair.numbers.get(name).copied())
            .filter(|number| !self.taken.contains(number));
        let fresh = || {
            (LAST..=FIRST).rev().find(|n| {
                !self.taken.contains(n) && pair.as_ref().is_none_or(|pair| !pair.taken.contains(n))
            })
        };
        let number = match self.numbers.get(name).copied() {
            Some(number) => number,
            None => paired
                .or_else(fresh)
                .ok_or_else(|| format!("no number below 1000 is left for {} {name}", self.kind))?,
        };
        if !self.numbers.contains_key(name) {
            self.give(name, number);
        }
        if let Some(pair) = pair
            && !pair.numbers.contains_key(name)
            && !pair.taken.contains(&number)
        {
            pair.give(name, number);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(lines: &str) -> Asked {
        let mut asked = Asked::default();
        asked.sysusers("x.conf", lines).expect("good");
        asked
    }

    fn none() -> Numbers {
        Numbers::new()
    }

    #[test]
    fn a_user_and_its_group_get_the_same_number() {
        let (users, groups) = number(
            &asked("u etcd -\nu web -:www\ng www -\ng tty -\nm etcd video\n"),
            &none(),
            &none(),
        )
        .expect("numbers");
        assert_eq!(users["etcd"], 999);
        assert_eq!(groups["etcd"], 999);
        assert_eq!(users["web"], 998);
        assert_eq!((groups["tty"], groups["video"]), (5, 44));
        assert_eq!(
            (users["root"], users["nobody"], groups["nogroup"]),
            (0, 65534, 65534)
        );
        assert!(!groups.contains_key("web"));
    }

    #[test]
    fn numbers_stay_when_users_come_and_go() {
        let (users, groups) = number(&asked("u b -\nu d -\n"), &none(), &none()).expect("numbers");
        assert_eq!((users["b"], users["d"]), (999, 998));
        let (later, later_groups) =
            number(&asked("u a -\nu d -\n"), &users, &groups).expect("numbers");
        assert_eq!((later["a"], later["d"], later["b"]), (997, 998, 999));
        assert_eq!(later_groups["a"], 997);
        let (again, _) = number(&asked("u a -\nu d -\n"), &later, &later_groups).expect("numbers");
        assert_eq!(again, later);
    }

    #[test]
    fn a_fixed_number_counts_and_two_of_them_are_refused() {
        let (users, groups) = number(&asked("u x 150\n"), &none(), &none()).expect("numbers");
        assert_eq!((users["x"], groups["x"]), (150, 150));
        let message = number(&asked("u x 150\nu y 150\n"), &none(), &none()).expect_err("twice");
        assert!(
            message.starts_with("user y is to have number 150, which x has"),
            "{message}"
        );
    }
}
