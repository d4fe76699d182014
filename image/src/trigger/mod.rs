//! What maintainer scripts and dpkg's triggers would have made once all packages are in place: one file for each.
//!
//! Each trigger is a function from the tree to the tree; none runs a program of the image.

pub(crate) mod alternatives;
pub(crate) mod ca_certificates;
pub(crate) mod ld_so_cache;
pub(crate) mod module_index;
pub(crate) mod tmpfiles;
pub(crate) mod units;

use crate::tree::Tree;

/// A trigger that a package entry may name.
struct Row {
    name: &'static str,
    run: fn(&mut Tree) -> Result<(), String>,
}

/// Every trigger that an entry may name. The module index is always made, with the kernel.
const TRIGGERS: &[Row] = &[
    Row {
        name: "ca-certificates",
        run: ca_certificates::run,
    },
    Row {
        name: "ld-so-cache",
        run: ld_so_cache::run,
    },
    Row {
        name: "modules",
        run: |_| Ok(()),
    },
];

/// Runs the triggers of that name; `asked_by` is the entry that names it.
pub(crate) fn run(name: &str, asked_by: &str, tree: &mut Tree) -> Result<(), String> {
    match TRIGGERS.iter().find(|row| row.name == name) {
        Some(row) => (row.run)(tree),
        None => {
            let known: Vec<_> = TRIGGERS.iter().map(|row| row.name).collect();
            Err(format!(
                "{asked_by}: unknown trigger \"{name}\"; known are {}",
                known.join(", ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_trigger_is_named_with_its_entry() {
        let message = run("mandb", "recipes/packages/man-db.toml", &mut Tree::new(0)).unwrap_err();
        assert!(
            message.starts_with("recipes/packages/man-db.toml: unknown trigger \"mandb\""),
            "{message}"
        );
        run("modules", "x", &mut Tree::new(0)).unwrap();
    }
}
