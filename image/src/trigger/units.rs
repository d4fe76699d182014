//! Units: the recipe's enabled, and all that starts with them checked as PID 1 will read it.

use std::collections::BTreeSet;

use spec_layout::command_line::{self, CommandLine};
use spec_layout::{glob, path};
use spec_recipe::{Kernel, Units};
use spec_unit::check::{check, install_links};
use spec_unit::finding::Severity;
use spec_unit::load::{EntryKind, FOLDERS, UnitSource};
use spec_unit::parse::MAX_FILE;

use crate::tree::{Kind, Tree};

/// Where a boot begins.
const DEFAULT: &str = "default.target";

/// The unit files of a tree.
pub(crate) struct Files<'a>(pub(crate) &'a Tree);

impl UnitSource for Files<'_> {
    fn list(&self, folder: &str) -> Result<Vec<(String, EntryKind)>, String> {
        let Some(folder) = self.0.resolve(folder) else {
            return Ok(Vec::new());
        };
        let kind = |kind: &Kind| match kind {
            Kind::Folder => EntryKind::Folder,
            Kind::Symlink(_) => EntryKind::Link,
            Kind::File(_) | Kind::HardLink(_) => EntryKind::File,
        };
        Ok(self
            .0
            .folder(&folder)
            .map(|(name, node)| (name.to_owned(), kind(&node.kind)))
            .collect())
    }

    fn link(&self, path: &str) -> Result<String, String> {
        match self.0.get(path).map(|node| &node.kind) {
            Some(Kind::Symlink(target)) => Ok(target.clone()),
            _ => Err(format!("{path} is no link")),
        }
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self
            .0
            .file(path)
            .map(|content| content[..content.len().min(MAX_FILE + 1)].to_vec()))
    }
}

/// The units to enable, each once. A pattern stands for the units that match and say what they belong to.
fn named(files: &Files<'_>, enable: &[String]) -> Result<Vec<String>, String> {
    let mut there = BTreeSet::new();
    if enable.iter().any(|unit| glob::is_pattern(unit)) {
        for folder in FOLDERS {
            there.extend(files.list(folder)?.into_iter().map(|(name, _)| name));
        }
    }
    let mut units = Vec::new();
    for unit in enable {
        if !glob::is_pattern(unit) {
            units.push(unit.clone());
            continue;
        }
        let before = units.len();
        for name in there.iter().filter(|name| glob::matches(unit, name)) {
            match install_links(files, name) {
                Ok(links) if links.is_empty() => {}
                // A template without an instance to enable.
                Err(_) if name.contains("@.") => {}
                _ => units.push(name.clone()),
            }
        }
        if units.len() == before {
            return Err(format!("[units] enable: no unit matches {unit}"));
        }
    }
    let mut seen = BTreeSet::new();
    units.retain(|unit| seen.insert(unit.clone()));
    Ok(units)
}

/// Whether the root's PID 1 is ours: the command line may name another (`init=`).
pub(crate) fn are_ours(kernel: &Kernel) -> bool {
    let line = CommandLine::parse(&kernel.command_line.join(" "));
    line.value(command_line::INIT)
        .is_none_or(|init| init == path::INIT)
}

/// Makes the links that enable the recipe's units, then checks everything that a boot starts, if our PID 1 is to run
/// it (`ours`). Gives warnings.
pub(crate) fn run(units: &Units, ours: bool, tree: &mut Tree) -> Result<Vec<String>, Vec<String>> {
    let mut errors = Vec::new();
    let mut links = Vec::new();
    let enabled = named(&Files(tree), &units.enable).map_err(|message| vec![message])?;
    for unit in &enabled {
        match install_links(&Files(tree), unit) {
            Ok(found) if found.is_empty() => {
                errors.push(format!(
                    "[units] enable: {unit} has no [Install] section that says what it belongs to"
                ));
            }
            Ok(found) => links.extend(found),
            Err(message) => errors.push(format!("[units] enable: {message}")),
        }
    }
    for link in links {
        if let Err(message) = tree.link(&link.path, &link.target) {
            errors.push(message);
        }
    }
    let mut roots = vec![DEFAULT.to_owned()];
    roots.extend(enabled.iter().filter(|unit| !unit.contains("@.")).cloned());
    let mut warnings = Vec::new();
    match check(&Files(tree), &roots, &units.allow) {
        _ if !ours => {}
        Ok(findings) => {
            for finding in findings {
                match finding.severity {
                    Severity::Warning => warnings.push(finding.to_string()),
                    Severity::Isolation => {
                        errors.push(format!("{finding} (or name the unit in [units] allow)"))
                    }
                    Severity::Error => errors.push(finding.to_string()),
                }
            }
        }
        Err(message) => errors.push(message),
    }
    if errors.is_empty() {
        Ok(warnings)
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(units: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new(0);
        let targets = [
            ("default.target", "[Unit]\nDescription=Up\n"),
            ("sysinit.target", "[Unit]\nDescription=First\n"),
            ("basic.target", "[Unit]\nDescription=Basic\n"),
            ("shutdown.target", "[Unit]\nDescription=Down\n"),
        ];
        for (name, text) in targets.iter().chain(units) {
            tree.make_file(
                &format!("usr/lib/systemd/system/{name}"),
                0o644,
                text.to_string(),
            )
            .unwrap();
        }
        tree
    }

    fn enable(units: &[&str]) -> Units {
        Units {
            enable: units.iter().map(|unit| unit.to_string()).collect(),
            allow: Vec::new(),
        }
    }

    #[test]
    fn a_pattern_enables_what_says_where_it_belongs() {
        let part = "[Service]\nExecStart=/usr/bin/x\n";
        let whole = format!("{part}[Install]\nWantedBy=default.target\n");
        let mut tree = tree(&[
            ("a-1.service", &whole),
            ("a-1-part.service", part),
            ("b.service", &whole),
        ]);
        run(&enable(&["a-*.service"]), true, &mut tree).unwrap();
        let link = |unit: &str| {
            tree.resolve(&format!("etc/systemd/system/default.target.wants/{unit}"))
                .is_some()
        };
        assert!(link("a-1.service") && !link("a-1-part.service") && !link("b.service"));
        let errors = run(&enable(&["c-*.service"]), true, &mut tree).unwrap_err();
        assert_eq!(errors, ["[units] enable: no unit matches c-*.service"]);
    }

    #[test]
    fn an_enabled_unit_gets_its_links() {
        let service = "[Service]\nExecStart=/usr/bin/x\n[Install]\nWantedBy=default.target\n";
        let mut tree = tree(&[("x.service", service)]);
        run(&enable(&["x.service"]), true, &mut tree).unwrap();
        assert_eq!(
            tree.resolve("etc/systemd/system/default.target.wants/x.service")
                .as_deref(),
            Some("usr/lib/systemd/system/x.service")
        );
    }

    #[test]
    fn a_missing_unit_and_a_cycle_stop_the_build() {
        let messages = run(&enable(&["gone.service"]), true, &mut tree(&[])).unwrap_err();
        assert!(
            messages
                .iter()
                .any(|message| message.contains("gone.service")),
            "{messages:?}"
        );
        let unit = |other: &str| {
            format!(
                "[Unit]\nAfter={other}\nRequires={other}\n[Service]\nExecStart=/x\n[Install]\nWantedBy=default.target\n"
            )
        };
        let (a, b) = (unit("b.service"), unit("a.service"));
        let messages = run(
            &enable(&["a.service"]),
            true,
            &mut tree(&[("a.service", &a), ("b.service", &b)]),
        )
        .unwrap_err();
        assert!(
            messages.iter().any(|message| message.contains("cycle")),
            "{messages:?}"
        );
    }

    #[test]
    fn an_unknown_directive_is_named_with_its_line() {
        let service = "[Service]\nExecStart=/usr/bin/x\nExecStrat=/usr/bin/y\n[Install]\nWantedBy=default.target\n";
        let said = run(
            &enable(&["x.service"]),
            true,
            &mut tree(&[("x.service", service)]),
        );
        let messages = said.unwrap_or_else(|errors| errors);
        assert!(
            messages
                .iter()
                .any(|message| message.contains("x.service:3")),
            "{messages:?}"
        );
    }

    #[test]
    fn what_another_pid_1_runs_is_not_ours_to_judge() {
        let kernel = |words: &[&str]| Kernel {
            package: "linux".to_owned(),
            command_line: words.iter().map(|word| word.to_string()).collect(),
        };
        assert!(are_ours(&kernel(&["quiet"])));
        assert!(are_ours(&kernel(&["init=/usr/lib/bedplate/init"])));
        assert!(!are_ours(&kernel(&[
            "quiet",
            "init=/usr/lib/systemd/systemd"
        ])));
        let needy = "[Unit]\nRequires=x.socket\n[Service]\nExecStart=/x\n[Install]\nWantedBy=default.target\n";
        let units = [("x.service", needy), ("x.socket", "[Socket]\n")];
        assert!(run(&enable(&["x.service"]), true, &mut tree(&units)).is_err());
        let mut other = tree(&units);
        assert_eq!(run(&enable(&["x.service"]), false, &mut other), Ok(vec![]));
        let link = "etc/systemd/system/default.target.wants/x.service";
        assert!(other.resolve(link).is_some());
    }
}
