//! What the builder asks: are the enabled units sound?

use std::collections::BTreeSet;

use crate::directive::dependency::Relation;
use crate::finding::{Finding, Place};
use crate::graph::{Graph, UnitId};
use crate::load::{FOLDERS, Loader, UnitSource};
use crate::name::UnitName;
use crate::specifier::Facts;
use crate::unit::LoadState;

/// Checks the units that start with `roots` (`default.target` and the units the recipe enables).
///
/// Units named in `allowed` may ask for isolation that is not implemented. Findings come sorted by file and line; an
/// error or an isolation finding stops the build.
pub fn check(
    source: &dyn UnitSource,
    roots: &[String],
    allowed: &[String],
) -> Result<Vec<Finding>, String> {
    // Facts of the node are not known yet: specifiers become empty.
    let facts = Facts::default();
    let loader = Loader::new(source, &facts)?.allow(allowed.iter().cloned());
    let mut graph = Graph::default();
    let mut findings = BTreeSet::new();
    for root in roots {
        match graph.load(&loader, root) {
            Ok((id, found)) => {
                findings.extend(found);
                findings.extend(unusable_root(&graph, id, root));
            }
            Err(message) => drop(findings.insert(Finding::error(Place::new(root, 0), message))),
        }
    }
    findings.extend(graph.units().flat_map(|(_, unit)| {
        unit.dependencies
            .list
            .iter()
            .filter_map(|dependency| broken_dependency(&graph, dependency))
    }));
    let ids: BTreeSet<UnitId> = graph.units().map(|(id, _)| id).collect();
    findings.extend(graph.break_cycles(&ids).1);
    Ok(findings.into_iter().collect())
}

fn unusable_root(graph: &Graph, id: UnitId, root: &str) -> Option<Finding> {
    let unit = graph.unit(id)?;
    let message = match unit.load {
        LoadState::NotFound => format!(
            "enabled, but there is no such unit in {}",
            FOLDERS.join(", ")
        ),
        LoadState::Masked => "enabled, but masked; take it out of the recipe or unmask it".into(),
        LoadState::Error => unit.reason.clone()?,
        _ => return None,
    };
    Some(Finding::error(Place::new(root, 0), message))
}

fn broken_dependency(
    graph: &Graph,
    dependency: &crate::directive::dependency::Dependency,
) -> Option<Finding> {
    let other = graph.unit(graph.id(&dependency.on)?)?;
    let on = &dependency.on;
    let why = match other.load {
        LoadState::NotFound => format!("there is no unit {on}"),
        LoadState::Error => format!("{on}: {}", other.reason.as_deref()?),
        LoadState::Masked if dependency.relation == Relation::Requires => format!("{on} is masked"),
        LoadState::BadSetting if dependency.relation.requires() => format!("{on} is refused"),
        _ => return None,
    };
    let at = dependency.at.clone();
    Some(match dependency.relation {
        relation if relation.requires() => Finding::error(at, format!("{why}, and it is required")),
        _ => Finding::warning(at, why),
    })
}

/// What becomes of a unit file as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that it says has its effect.
    Honoured,
    /// It runs; what the findings name has no effect.
    Warned,
    /// It is hidden on purpose.
    Masked,
    /// It does not run.
    Refused,
}

impl Verdict {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::Warned => "warned",
            Self::Masked => "masked",
            Self::Refused => "refused",
        }
    }
}

/// Reads one unit with its drop-ins, without the units that it names; of a template an instance.
pub fn verify(source: &dyn UnitSource, unit: &str) -> Result<(Verdict, Vec<Finding>), String> {
    let facts = Facts::default();
    let mut name = UnitName::parse(unit)?;
    if name.is_template() {
        name = name.with_instance("instance");
    }
    let loaded = Loader::new(source, &facts)?.load(&name.to_string())?;
    let (unit, mut findings) = (loaded.unit, loaded.findings);
    let verdict = match unit.load {
        LoadState::Loaded if findings.is_empty() => Verdict::Honoured,
        LoadState::Loaded => Verdict::Warned,
        LoadState::Masked => Verdict::Masked,
        _ => Verdict::Refused,
    };
    if verdict == Verdict::Refused && findings.is_empty() {
        let reason = unit.reason.clone().unwrap_or_default();
        findings.push(Finding::error(unit.place(), reason));
    }
    findings.sort();
    Ok((verdict, findings))
}

/// A link that enables a unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstallLink {
    /// Where it stands.
    pub path: String,
    /// What it points to.
    pub target: String,
}

/// The links that enable a unit, as its \[Install\] section asks for; `Also=` included.
pub fn install_links(source: &dyn UnitSource, unit: &str) -> Result<Vec<InstallLink>, String> {
    let facts = Facts::default();
    let loader = Loader::new(source, &facts)?;
    let (mut links, mut seen, mut open) =
        (BTreeSet::new(), BTreeSet::new(), vec![unit.to_string()]);
    while let Some(asked) = open.pop() {
        let mut name = UnitName::parse(&asked)?;
        if name.is_template() {
            let probe = loader.load(&name.with_instance("x").to_string())?.unit;
            let instance = probe.install.default_instance;
            name = name.with_instance(
                &instance.ok_or_else(|| format!("{asked}: give an instance to enable"))?,
            );
        }
        let loaded = loader.load(&name.to_string())?.unit;
        if !seen.insert(loaded.name.clone()) {
            continue;
        }
        let fragment = loaded
            .fragment
            .ok_or_else(|| format!("{asked}: {}", loaded.reason.unwrap_or_default()))?;
        let folder = FOLDERS[0];
        let install = loaded.install;
        let kinds = [
            ("wants", &install.wanted_by),
            ("requires", &install.required_by),
            ("upholds", &install.upheld_by),
        ];
        for (suffix, by) in kinds {
            let path = |by: &String| format!("{folder}/{by}.{suffix}/{}", loaded.name);
            links.extend(by.iter().map(|by| InstallLink {
                path: path(by),
                target: fragment.clone(),
            }));
        }
        let alias = |alias: &String| InstallLink {
            path: format!("{folder}/{alias}"),
            target: fragment.clone(),
        };
        links.extend(
            install
                .alias
                .iter()
                .filter(|alias| **alias != loaded.name)
                .map(alias),
        );
        open.extend(install.also);
    }
    Ok(links.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;
    use crate::load::tests::Tree;

    const TARGETS: [(&str, &str); 3] = [
        ("default.target", "[Unit]\nDescription=Up\n"),
        ("sysinit.target", "[Unit]\n"),
        ("default.target.wants/a.service", "->../a.service"),
    ];

    fn checked(files: &[(&str, &str)], allowed: &[&str]) -> Vec<(Severity, String)> {
        let all: Vec<(&str, &str)> = TARGETS.iter().chain(files).copied().collect();
        let allowed: Vec<String> = allowed.iter().map(|name| name.to_string()).collect();
        let findings = check(&Tree::of(&all), &["default.target".into()], &allowed).unwrap();
        findings
            .into_iter()
            .map(|finding| (finding.severity, finding.to_string()))
            .collect()
    }

    #[test]
    fn a_sound_set_has_no_findings() {
        assert_eq!(
            checked(&[("a.service", "[Service]\nExecStart=/bin/a\n")], &[]),
            []
        );
    }

    #[test]
    fn missing_units_are_errors_where_required_and_warnings_where_wanted() {
        let text = "[Unit]\nWants=w.service\nRequires=r.service\n[Service]\nExecStart=/bin/a\n";
        let found = checked(&[("a.service", text)], &[]);
        assert_eq!(
            found
                .iter()
                .map(|(severity, _)| *severity)
                .collect::<Vec<_>>(),
            [Severity::Warning, Severity::Error]
        );
        assert!(
            found[0]
                .1
                .starts_with("/usr/lib/systemd/system/a.service:2: ")
                && found[1].1.contains(":3: ")
        );
    }

    #[test]
    fn unknown_directives_and_cycles_have_file_and_line() {
        let text =
            "[Unit]\nAfter=a2.service\nWants=a2.service\nOdd=1\n[Service]\nExecStart=/bin/a\n";
        let second = "[Unit]\nAfter=a.service\n[Service]\nExecStart=/bin/a\n";
        let found = checked(&[("a.service", text), ("a2.service", second)], &[]);
        assert!(
            found
                .iter()
                .any(|(severity, text)| *severity == Severity::Warning
                    && text.contains("a.service:4: unknown directive Odd="))
        );
        assert!(found.iter().any(
            |(severity, text)| *severity == Severity::Error && text.contains("ordering cycle")
        ));
    }

    #[test]
    fn unimplemented_isolation_stops_the_build_unless_allowed() {
        let files = [(
            "a.service",
            "[Service]\nExecStart=/bin/a\nExtensionImages=/more.raw\n",
        )];
        assert_eq!(checked(&files, &[])[0].0, Severity::Isolation);
        assert_eq!(checked(&files, &["a.service"])[0].0, Severity::Warning);
    }

    #[test]
    fn a_unit_that_is_enabled_and_missing_is_an_error() {
        let findings = check(&Tree::of(&TARGETS), &["gone.service".into()], &[]).unwrap();
        assert_eq!(
            (findings[0].severity, findings[0].at.file.as_str()),
            (Severity::Error, "gone.service")
        );
    }

    #[test]
    fn enabling_makes_the_links_of_the_install_section() {
        let text = "[Service]\nExecStart=/bin/a\n[Install]\nWantedBy=multi-user.target\nAlias=other.service\nAlso=b@.service\n";
        let template =
            "[Service]\nExecStart=/bin/b\n[Install]\nRequiredBy=a.service\nDefaultInstance=one\n";
        let tree = Tree::of(&[("a.service", text), ("b@.service", template)]);
        let links = install_links(&tree, "a.service").unwrap();
        let paths: Vec<&str> = links
            .iter()
            .map(|link| link.path.trim_start_matches("/etc/systemd/system/"))
            .collect();
        assert_eq!(
            paths,
            [
                "a.service.requires/b@one.service",
                "multi-user.target.wants/a.service",
                "other.service"
            ]
        );
        assert_eq!(links[0].target, "/usr/lib/systemd/system/b@.service");
    }
}
