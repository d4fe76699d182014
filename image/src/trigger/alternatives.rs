//! update-alternatives(1): of each name, the alternative with the highest priority that is in the image.

use std::collections::BTreeMap;

use spec_recipe::entry::Alternative;

use crate::tree::Tree;

/// Makes `LINK -> /etc/alternatives/NAME -> PATH` for each name; of equal priorities the first path wins.
pub(crate) fn run(alternatives: &[Alternative], tree: &mut Tree) -> Result<(), String> {
    let mut best: BTreeMap<&str, &Alternative> = BTreeMap::new();
    for alternative in alternatives
        .iter()
        .filter(|alternative| tree.resolve(&alternative.path).is_some())
    {
        let rank = |alternative: &Alternative| (-alternative.priority, alternative.path.clone());
        let there = best.entry(&alternative.name).or_insert(alternative);
        if rank(alternative) < rank(there) {
            *there = alternative;
        }
    }
    for (name, alternative) in best {
        let middle = format!("/etc/alternatives/{name}");
        tree.link(&middle, &alternative.path)?;
        tree.link(&alternative.link, &middle)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awk(path: &str, priority: i32) -> Alternative {
        Alternative {
            link: "/usr/bin/awk".into(),
            name: "awk".into(),
            path: path.into(),
            priority,
        }
    }

    #[test]
    fn the_highest_priority_that_is_there_wins() {
        let mut tree = Tree::new(0);
        for path in ["usr/bin/mawk", "usr/bin/busybox-awk"] {
            tree.make_file(path, 0o755, "x").unwrap();
        }
        let all = [
            awk("/usr/bin/busybox-awk", 1),
            awk("/usr/bin/mawk", 5),
            awk("/usr/bin/gawk", 10),
        ];
        run(&all, &mut tree).unwrap();
        assert_eq!(tree.resolve("usr/bin/awk").as_deref(), Some("usr/bin/mawk"));
        assert!(tree.get("etc/alternatives/awk").is_some());
    }
}
