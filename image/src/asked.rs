//! Who asks for users and groups: sysusers.d(5) of packages and overlays, package entries, the recipe.

use spec_recipe::entry::{Group, User};
use spec_recipe::sysusers::{self, Line};
use spec_recipe::{PackageEntry, Recipe};

/// All that was asked for, in the order in which it was.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) users: Vec<User>,
    pub(crate) groups: Vec<Group>,
    /// A user, and a group that it joins.
    pub(crate) members: Vec<(String, String)>,
}

impl Asked {
    /// What a sysusers.d(5) file asks for. `file` is only named in messages.
    pub(crate) fn sysusers(&mut self, file: &str, text: &str) -> Result<(), spec_recipe::Error> {
        sysusers::parse(file, text)?
            .into_iter()
            .for_each(|line| self.line(line));
        Ok(())
    }

    /// What a package entry asks for.
    pub(crate) fn entry(&mut self, entry: &PackageEntry) {
        self.users.extend(entry.users.iter().cloned());
        self.groups.extend(entry.groups.iter().cloned());
    }

    /// What the recipe asks for.
    pub(crate) fn recipe(&mut self, recipe: &Recipe) {
        self.users.extend(recipe.users.iter().cloned());
        self.groups.extend(recipe.groups.iter().cloned());
    }

    fn line(&mut self, line: Line) {
        match line {
            Line::User {
                name,
                uid,
                group,
                gecos,
                home,
                shell,
            } => self.users.push(User {
                name,
                uid,
                group,
                groups: Vec::new(),
                gecos,
                home,
                shell,
            }),
            Line::Group { name, gid } => self.groups.push(Group { name, gid }),
            Line::Member { user, group } => self.members.push((user, group)),
        }
    }
}
