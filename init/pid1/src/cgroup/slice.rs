//! The group of a slice: made before anything is in it, and told what its unit says.

use std::io;
use std::path::Path;

use spec_layout::slice;
use spec_unit::plan::Cgroup;

use super::{Cgroups, controller, make, set};

impl Cgroups {
    /// Makes a slice's group with what its unit says, beside what it has as a part of the trunk; returns both. A tree that is not there
    /// costs the group, as every unit in it will say; a setting that cannot be made is the error, and nothing may run there.
    pub(crate) fn create_slice(&mut self, name: &str, group: &Cgroup) -> io::Result<Cgroup> {
        let group = settled(name, group);
        if group.path.is_empty() {
            if !(group.settings.is_empty() && group.hints.is_empty() && group.startup.is_empty()) {
                crate::warning!(
                    "{name}: the kernel limits no root; what its unit asks has no effect"
                );
            }
            return Ok(group);
        }
        let path = self.path(&group.path);
        let parent = Path::new(&group.path).parent().unwrap_or(Path::new(""));
        let wanted = controller::wanted(&group);
        let made = self.create_parents(parent, &wanted);
        if let Err(cause) = made.and_then(|()| make(&path)) {
            crate::warning!("{name}: {cause}");
            return Ok(group);
        }
        set(&path, &group)?;
        if self.starting {
            self.adjust(&group.path, &group.startup)?;
        }
        Ok(group)
    }

    /// Removes the group of a slice that has stopped, if nothing is left in it. The trunk stays.
    pub(crate) fn remove_slice(&mut self, name: &str, group: &str) {
        if slice::trunk(name).is_none() && !group.is_empty() && !self.populated(group) {
            self.remove(group);
        }
    }
}

/// What the unit says of a part of the trunk, and what it has besides. A part that is guarded does not get weaker.
fn settled(name: &str, group: &Cgroup) -> Cgroup {
    let mut group = group.clone();
    let Some(trunk) = slice::trunk(name) else {
        return group;
    };
    let guard = |file: &str, asked: &mut String| {
        let own = trunk.settled(file, asked);
        if own != *asked {
            crate::warning!("{name}: {file} stays {own}: it protects the node; {asked} is ignored");
            *asked = own.to_string();
        }
    };
    let files = group.settings.iter_mut().chain(group.hints.iter_mut());
    files.for_each(|(file, asked)| guard(file, asked));
    for (file, startup) in &mut group.startup {
        guard(file, &mut startup.starting);
        guard(file, &mut startup.running);
    }
    if trunk.guarded {
        // A group that is idle has no weight.
        group.hints.remove("cpu.idle");
        group.startup.remove("cpu.idle");
    }
    for (file, own) in trunk.settings {
        if !group.settings.contains_key(*file) && !group.hints.contains_key("cpu.idle") {
            let hints = &mut group.hints;
            hints.entry(file.to_string()).or_insert(own.to_string());
        }
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn one(file: &str, value: &str) -> std::collections::BTreeMap<String, String> {
        [(file.to_string(), value.to_string())].into()
    }

    #[test]
    fn the_nodes_slice_keeps_its_protection_and_takes_the_rest() {
        let asked = Cgroup {
            path: "system.slice".into(),
            settings: one("memory.low", "0"),
            hints: one("cpu.weight", "900"),
            ..Cgroup::default()
        };
        let got = settled("system.slice", &asked);
        assert_eq!(got.settings["memory.low"], "268435456");
        assert_eq!(got.hints["cpu.weight"], "900");
        let bare = settled("system.slice", &Cgroup::default());
        assert_eq!(bare.hints["memory.low"], "268435456");
        assert_eq!(bare.hints["cpu.weight"], "400");
        let other = settled("cluster.slice", &asked);
        assert_eq!(other.settings["memory.low"], "0");
        assert_eq!(settled("a.slice", &asked), asked);
    }

    #[test]
    fn a_slice_is_made_in_its_parents_and_told_its_limits() {
        let folder = tempfile::tempdir().unwrap();
        let mut cgroups = Cgroups::open(folder.path()).unwrap();
        let group = Cgroup {
            path: "a.slice/a-b.slice".into(),
            settings: one("memory.max", "7"),
            ..Cgroup::default()
        };
        let refused = cgroups.create_slice("a-b.slice", &group).unwrap_err();
        assert!(refused.to_string().starts_with("memory.max=7 cannot"));
        let own = folder.path().join(&group.path);
        fs::write(own.join("memory.max"), "").unwrap();
        cgroups.create_slice("a-b.slice", &group).unwrap();
        assert_eq!(fs::read_to_string(own.join("memory.max")).unwrap(), "7");
        fs::remove_file(own.join("memory.max")).unwrap();
        cgroups.remove_slice("a-b.slice", &group.path);
        assert!(!own.exists() && folder.path().join("a.slice").exists());
    }
}
