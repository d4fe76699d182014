//! tmpfiles.d(5): compiled here into the plan that PID 1 executes at each boot.

use std::collections::BTreeMap;

use spec_layout::path;
use spec_layout::tmpfiles::{Names, Source, compile};

use crate::account::Accounts;
use crate::tree::{Kind, Tree};

/// Where lines come from; the order of precedence is the compiler's.
const FOLDERS: [&str; 3] = [
    "etc/tmpfiles.d",
    "usr/local/lib/tmpfiles.d",
    "usr/lib/tmpfiles.d",
];

/// Compiles every file; gives the lines without effect on a node, to be told.
pub(crate) fn run(
    tree: &mut Tree,
    accounts: &Accounts,
    os_release: &BTreeMap<&str, String>,
) -> Result<Vec<String>, Vec<String>> {
    let mut files: Vec<(String, String)> = Vec::new();
    for folder in FOLDERS {
        for (name, node) in tree
            .folder(folder)
            .filter(|(name, _)| name.ends_with(".conf"))
        {
            let path = format!("/{folder}/{name}");
            match (&node.kind, tree.text(&path)) {
                (Kind::Symlink(target), None) if target == "/dev/null" => {
                    files.push((path, String::new()))
                }
                (_, Some(text)) => files.push((path, text.to_owned())),
                _ => return Err(vec![format!("{path} in {} is no text file", node.origin)]),
            }
        }
    }
    let sources: Vec<Source<'_>> = files
        .iter()
        .map(|(path, text)| Source { path, text })
        .collect();
    let names = Names {
        user: &|name| accounts.user(name),
        group: &|name| accounts.group(name),
        os_release: &|field| os_release.get(field).cloned(),
    };
    let said = |notes: Vec<_>| notes.iter().map(ToString::to_string).collect::<Vec<_>>();
    let compiled = compile(&sources, &names).map_err(said)?;
    tree.make_file(path::TMPFILES, 0o644, compiled.plan.to_string())
        .map_err(|message| vec![message])?;
    Ok(said(compiled.skipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_a_plan_with_numbers() {
        let mut tree = Tree::new(0);
        tree.make_file(
            "usr/lib/tmpfiles.d/x.conf",
            0o644,
            "d /run/x 0750 root root -\n",
        )
        .unwrap();
        run(&mut tree, &Accounts::default(), &BTreeMap::new()).unwrap();
        let plan = tree.text(path::TMPFILES).unwrap();
        assert!(plan.contains("/run/x"), "{plan}");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let mut tree = Tree::new(0);
        tree.make_file(
            "usr/lib/tmpfiles.d/x.conf",
            0o644,
            "\nd /run/x 0750 nobody-here root -\n",
        )
        .unwrap();
        let messages = run(&mut tree, &Accounts::default(), &BTreeMap::new()).unwrap_err();
        assert!(
            messages[0].starts_with("/usr/lib/tmpfiles.d/x.conf:2: "),
            "{messages:?}"
        );
    }
}
