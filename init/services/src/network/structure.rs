//! Which links are made, renamed and removed. Pure.
//!
//! A link that this service makes bears a note ([`note`], `IFLA_IFALIAS`), so that a later run knows it for its own:
//! only such a link is ever removed. One of the right kind and name that is there already is taken over; one of
//! another kind is in the way, and that is said.

use spec_config::{LinkName, Network};

use crate::network::link;
use crate::network::state::{Link, Need, Setting};

/// What a note begins with.
const NOTE: &str = "bedplate ";

/// The note on a link that the config calls so.
pub(crate) fn note(name: &str) -> String {
    format!("{NOTE}{name}")
}

/// What the config called a link when this service made it; nothing for a link of others.
pub(crate) fn made_as(link: &Link) -> Option<&str> {
    let note = link.alias.as_deref()?;
    note.strip_prefix(NOTE).filter(|_| link::is_made(link))
}

/// A link to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct New {
    /// Its name.
    pub name: String,
    /// The kernel's name of its kind.
    pub kind: &'static str,
    /// Options of its kind.
    pub settings: Vec<Setting>,
    /// Index of the link that carries its frames.
    pub parent: Option<u32>,
    /// Its hardware address.
    pub mac: Option<[u8; 6]>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Structure {
    /// Remove a link of ours.
    Delete { index: u32, name: String },
    /// Give a link of ours its name back.
    Rename {
        index: u32,
        name: String,
        to: String,
    },
    /// Make a link.
    Create(New),
}

impl Structure {
    /// The link it is about.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Delete { name, .. } => name,
            Self::Rename { to, .. } => to,
            Self::Create(new) => &new.name,
        }
    }
}

/// The steps that are possible now, removals first, and what stands in the way of others. What a new link lets happen
/// is for the next call.
pub(crate) fn structure(network: &Network, links: &[Link]) -> (Vec<Structure>, Vec<String>) {
    let mut steps = Vec::new();
    let mut problems = Vec::new();
    let entries = network.links.iter().filter_map(|entry| {
        let name = entry.name.as_ref().map(LinkName::as_str)?;
        Some((name, entry, link::maker(entry)?))
    });
    let wanted: Vec<_> = entries.collect();
    for link in links {
        let Some(name) = made_as(link) else { continue };
        let known = wanted.iter().find(|(wanted, _, _)| *wanted == link.name);
        let before = wanted
            .iter()
            .find(|(wanted, _, maker)| *wanted == name && maker.kind == link.kind);
        let free = !links.iter().any(|other| other.name == name);
        match (known, before) {
            (Some(_), _) => {}
            (None, Some(_)) if free => steps.push(Structure::Rename {
                index: link.index,
                name: link.name.clone(),
                to: name.to_owned(),
            }),
            (None, _) => steps.push(delete(link)),
        }
    }
    for (name, entry, maker) in wanted {
        let parent = entry
            .parent()
            .map(|of| (of, link::find(network, links, of)));
        let parent_index = match &parent {
            Some((_, found)) => found.first().map(|parent| parent.index),
            None => None,
        };
        let renamed = |step: &Structure| matches!(step, Structure::Rename { to, .. } if to == name);
        if let Some(link) = links.iter().find(|link| link.name == name) {
            let moved = parent_index.is_some() && link.parent != parent_index;
            let settings = (maker.settings)(network, links, entry);
            let immutable = settings
                .iter()
                .any(|(setting, need)| *need == Need::NewLink && !link.settings.contains(setting));
            if link.kind == maker.kind && !moved && !immutable {
                continue;
            }
            if made_as(link).is_some() {
                steps.push(delete(link));
            } else {
                problems.push(format!(
                    "{name}: another link has this name; remove it, or call the {} differently",
                    maker.kind
                ));
            }
        } else if let (Some((of, _)), None) = (&parent, parent_index) {
            problems.push(format!("{name}: its parent {of} is not here"));
        } else if !steps.iter().any(renamed) {
            let settings = (maker.settings)(network, links, entry);
            let settings = settings
                .into_iter()
                .filter(|(_, need)| *need != Need::Members);
            steps.push(Structure::Create(New {
                name: name.to_owned(),
                kind: maker.kind,
                settings: settings.map(|(setting, _)| setting).collect(),
                parent: parent_index,
                mac: entry.mac.map(|mac| mac.0),
            }));
        }
    }
    (steps, problems)
}

fn delete(link: &Link) -> Structure {
    Structure::Delete {
        index: link.index,
        name: link.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(links: &str) -> Network {
        serde_json::from_str(&format!("{{\"links\": [{links}]}}")).unwrap()
    }

    fn link(index: u32, name: &str, kind: &str) -> Link {
        Link {
            index,
            name: name.into(),
            kind: kind.into(),
            ..Link::default()
        }
    }

    fn ours(index: u32, name: &str, kind: &str) -> Link {
        Link {
            alias: Some(note(name)),
            ..link(index, name, kind)
        }
    }

    const BOND: &str =
        r#"{"name": "bond0", "bond": {"mode": "802.3ad", "members": [{"name": "eth0"}]}}"#;
    const VLAN: &str = r#"{"name": "v40", "vlan": {"id": 40, "parent": "bond0"}}"#;

    fn vlan(index: u32, id: u16, parent: u32) -> Link {
        Link {
            settings: vec![Setting::VlanId(id)],
            parent: Some(parent),
            ..ours(index, "v40", "vlan")
        }
    }

    #[test]
    fn a_vlan_waits_for_its_parent() {
        let network = network(&format!("{VLAN}, {BOND}"));
        let (steps, problems) = structure(&network, &[]);
        let names: Vec<&str> = steps.iter().map(Structure::name).collect();
        assert_eq!(names, ["bond0"]);
        assert_eq!(problems, ["v40: its parent bond0 is not here"]);
        let (steps, problems) = structure(&network, &[ours(7, "bond0", "bond")]);
        let new = New {
            name: "v40".into(),
            kind: "vlan",
            settings: vec![Setting::VlanId(40)],
            parent: Some(7),
            mac: None,
        };
        assert_eq!((steps, problems.len()), (vec![Structure::Create(new)], 0));
    }

    #[test]
    fn what_is_there_is_left_as_it_is() {
        let network = network(&format!("{BOND}, {VLAN}"));
        let links = [ours(7, "bond0", "bond"), vlan(8, 40, 7)];
        assert_eq!(structure(&network, &links), (vec![], vec![]));
        // Made by hand, or by its module: taken over.
        let links = [link(7, "bond0", "bond"), vlan(8, 40, 7)];
        assert_eq!(structure(&network, &links), (vec![], vec![]));
    }

    #[test]
    fn only_links_of_ours_are_removed() {
        let network = network("");
        let links = [
            ours(7, "bond0", "bond"),
            link(8, "docker0", "bridge"),
            ours(9, "wg0", "wireguard"),
            Link {
                alias: Some("uplink".into()),
                ..link(10, "dummy0", "dummy")
            },
        ];
        let (steps, problems) = structure(&network, &links);
        assert_eq!(steps, [delete(&links[0])]);
        assert!(problems.is_empty());
    }

    #[test]
    fn what_cannot_be_changed_is_made_anew() {
        let network = network(&format!("{BOND}, {VLAN}"));
        let bond = ours(7, "bond0", "bond");
        for wrong in [vlan(8, 41, 7), vlan(8, 40, 2), ours(8, "v40", "dummy")] {
            let (steps, problems) = structure(&network, &[bond.clone(), wrong.clone()]);
            assert_eq!(
                (steps, problems.len()),
                (vec![delete(&wrong)], 0),
                "{wrong:?}"
            );
        }
        let foreign = link(8, "v40", "veth");
        let (steps, problems) = structure(&network, &[bond, foreign]);
        assert_eq!(steps, []);
        assert_eq!(
            problems,
            ["v40: another link has this name; remove it, or call the vlan differently"]
        );
    }

    #[test]
    fn a_renamed_link_gets_its_name_back() {
        let network = network(BOND);
        let renamed = Link {
            name: "other".into(),
            ..ours(7, "bond0", "bond")
        };
        let (steps, _) = structure(&network, std::slice::from_ref(&renamed));
        let back = Structure::Rename {
            index: 7,
            name: "other".into(),
            to: "bond0".into(),
        };
        assert_eq!(steps, [back]);
        // Where another has the name, there is one too many.
        let (steps, _) = structure(&network, &[renamed.clone(), ours(8, "bond0", "bond")]);
        assert_eq!(steps, [delete(&renamed)]);
    }
}
