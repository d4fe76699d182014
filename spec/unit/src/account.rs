//! Users and groups out of `/etc/passwd` and `/etc/group`, passwd(5), group(5): PID 1 has no NSS.

/// One line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home folder.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// One line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Number.
    pub gid: u32,
    /// Users for whom it is a supplementary group.
    pub members: Vec<String>,
}

/// The users and groups of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

/// FNV-1a of a name, 64 bits: the same number for the same name at every boot.
pub fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Accounts {
    /// Reads both files; a line that makes no sense is skipped, as the C library does.
    pub fn parse(passwd: &str, group: &str) -> Self {
        Self {
            users: passwd.lines().filter_map(user).collect(),
            groups: group.lines().filter_map(group_line).collect(),
        }
    }

    /// Adds a user and its group, such as one made up for one run. The one that is there already counts.
    pub fn add(&mut self, name: &str, uid: u32) {
        if self.users.iter().any(|user| user.name == name) {
            return;
        }
        self.users.push(User {
            name: name.into(),
            uid,
            gid: uid,
            home: "/".into(),
            shell: "/usr/sbin/nologin".into(),
        });
        self.groups.push(Group {
            name: name.into(),
            gid: uid,
            members: Vec::new(),
        });
    }

    /// Whether a user with this name has a line.
    pub fn has_user(&self, name: &str) -> bool {
        self.users.iter().any(|user| user.name == name)
    }

    /// Whether a user or group has this number.
    pub fn has_number(&self, number: u32) -> bool {
        let user = self.users.iter().any(|user| user.uid == number);
        user || self.groups.iter().any(|group| group.gid == number)
    }

    /// A user by name or number. A number needs no line.
    pub fn user(&self, name: &str) -> Option<User> {
        let number = name.parse::<u32>().ok();
        let found = self
            .users
            .iter()
            .find(|user| user.name == name || Some(user.uid) == number)
            .cloned();
        let unnamed = |uid| User {
            name: name.into(),
            uid,
            gid: uid,
            home: "/".into(),
            shell: "/usr/sbin/nologin".into(),
        };
        found.or_else(|| number.filter(|uid| *uid != u32::MAX).map(unnamed))
    }

    /// The number of a group given by name or number.
    pub fn gid(&self, name: &str) -> Option<u32> {
        let number = name.parse::<u32>().ok().filter(|gid| *gid != u32::MAX);
        self.groups
            .iter()
            .find(|group| group.name == name)
            .map(|group| group.gid)
            .or(number)
    }

    /// Groups that name this user as a member.
    pub fn groups_of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.groups
            .iter()
            .filter(move |group| group.members.iter().any(|member| member == user))
            .map(|group| group.gid)
    }

    /// The name of a user by number.
    pub fn name_of(&self, uid: u32) -> Option<&str> {
        self.users
            .iter()
            .find(|user| user.uid == uid)
            .map(|user| user.name.as_str())
    }
}

fn user(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let _password = fields.next()?;
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let _gecos = fields.next()?;
    let home = fields.next()?.into();
    Some(User {
        name: name.into(),
        uid,
        gid,
        home,
        shell: fields.next().unwrap_or_default().into(),
    })
}

fn group_line(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let _password = fields.next()?;
    let gid = fields.next()?.parse().ok()?;
    let members = fields.next().unwrap_or_default();
    let members = members
        .split(',')
        .map(str::trim)
        .filter(|member| !member.is_empty())
        .map(String::from)
        .collect();
    Some(Group {
        name: name.into(),
        gid,
        members,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let accounts = Accounts::parse(
            "root:x:0:0:root:/root:/bin/bash\nbroken\netcd:x:100:101::/var/lib/etcd:/usr/sbin/nologin\n",
            "root:x:0:\nssl-cert:x:102:etcd,nobody\netcd:x:101:\n",
        );
        assert_eq!(
            accounts.user("etcd").map(|user| (user.uid, user.gid)),
            Some((100, 101))
        );
        assert_eq!(
            accounts.user("100").map(|user| user.name),
            Some("etcd".into())
        );
        assert_eq!(accounts.user("4711").map(|user| user.gid), Some(4711));
        assert_eq!(accounts.user("nobody-here"), None);
        assert_eq!(accounts.gid("ssl-cert"), Some(102));
        assert_eq!(accounts.groups_of("etcd").collect::<Vec<_>>(), [102]);
        assert_eq!(accounts.name_of(100), Some("etcd"));
    }
}
