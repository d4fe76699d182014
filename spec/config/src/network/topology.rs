//! How the links of a network hang together: names, members, parents.

use crate::check::Check;
use crate::network::{Link, LinkKind, LinkReference, Network};

/// One reference of an entry to a link.
struct Use<'a> {
    /// Index of the entry that refers.
    by: usize,
    /// Key path of the reference.
    path: String,
    reference: &'a LinkReference,
    /// The link becomes part of the entry's own; else it only carries its frames.
    is_member: bool,
}

/// Refuses what cannot be put together, whatever links a machine has.
pub(super) fn check(check: &mut Check<'_>, network: &Network) {
    check_names(check, network);
    let uses = uses(network);
    for one in &uses {
        check_use(check, network, one);
    }
    check_shared(check, network, &uses);
    check_cycles(check, network);
    check_mtu(check, network);
}

fn uses(network: &Network) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    for (by, entry) in network.links.iter().enumerate() {
        let list = match entry.kind() {
            LinkKind::Bridge(_) => "bridge.ports",
            _ => "bond.members",
        };
        let members = entry.members().iter().enumerate();
        uses.extend(members.map(|(index, reference)| Use {
            by,
            path: format!("network.links[{by}].{list}[{index}]"),
            reference,
            is_member: true,
        }));
        uses.extend(entry.parent().map(|reference| Use {
            by,
            path: format!("network.links[{by}].vlan.parent"),
            reference,
            is_member: false,
        }));
    }
    uses
}

/// What to call an entry in a message.
fn call(network: &Network, index: usize) -> String {
    let name = network.links.get(index).and_then(Link::own_name);
    name.map_or_else(|| format!("network.links[{index}]"), str::to_owned)
}

/// The entry that a reference surely means.
fn meant<'a>(network: &'a Network, reference: &LinkReference) -> Option<(usize, &'a Link)> {
    let mut entries = network.links.iter().enumerate();
    entries.find(|(_, entry)| reference.means(entry))
}

/// Two entries for one link: which of them would count?
fn check_names(check: &mut Check<'_>, network: &Network) {
    for (index, entry) in network.links.iter().enumerate() {
        let before = network.links.iter().take(index);
        let same = |other: &Link| {
            let one_made = other.name.is_some() || entry.name.is_some();
            let same_name = other.own_name().is_some() && other.own_name() == entry.own_name();
            (one_made && same_name) || (!entry.matches.is_empty() && other.matches == entry.matches)
        };
        if let Some((earlier, other)) = before.enumerate().find(|(_, other)| same(other)) {
            let key = if entry.name.is_some() {
                "name"
            } else {
                "match"
            };
            let what = other
                .own_name()
                .map_or_else(|| other.matches.to_string(), str::to_owned);
            let message = format!(
                "{what} stands twice: network.links[{earlier}] is for it already; keep one entry"
            );
            check.refuse(format!("network.links[{index}].{key}"), message);
        }
    }
}

/// A reference and what it means.
fn check_use(check: &mut Check<'_>, network: &Network, one: &Use<'_>) {
    let Some(by) = network.links.get(one.by) else {
        return;
    };
    let found = meant(network, one.reference);
    let Some((index, entry)) = found else {
        if let LinkReference::Name(name) = one.reference {
            let message = format!(
                "no entry of network.links makes or matches a link named {name:?}; write one, or for a link that is there {{ name = {name:?} }}"
            );
            check.refuse(&one.path, message);
        }
        return;
    };
    if !one.is_member || index == one.by {
        return;
    }
    let master = call(network, one.by);
    let impossible = match (by.kind(), entry.kind()) {
        (LinkKind::Bond(_), LinkKind::Bond(_) | LinkKind::Bridge(_)) => Some("a bond"),
        (LinkKind::Bridge(_), LinkKind::Bridge(_)) => Some("another bridge"),
        _ => None,
    };
    if let Some(impossible) = impossible {
        let message = format!("{} cannot be a member of {impossible}", one.reference);
        check.refuse(&one.path, message);
    }
    let is_bond = matches!(by.kind(), LinkKind::Bond(_));
    for (key, given) in [
        ("addresses", !entry.addresses.is_empty()),
        ("dhcp4", entry.dhcp4),
        ("routes", !entry.routes.is_empty()),
        ("mac", is_bond && entry.mac.is_some()),
        ("mtu", is_bond && entry.mtu.is_some()),
    ] {
        if given {
            let message = format!("this link is a member of {master}; give `{key}` to {master}");
            check.refuse(format!("network.links[{index}].{key}"), message);
        }
    }
}

/// A link is a member of one other at most, and all frames of a bond's member are the bond's.
fn check_shared(check: &mut Check<'_>, network: &Network, uses: &[Use<'_>]) {
    let is_bond = |index: usize| {
        let entry = network.links.get(index).map(Link::kind);
        matches!(entry, Some(LinkKind::Bond(_)))
    };
    for (index, one) in uses.iter().enumerate() {
        for (later, other) in uses.iter().enumerate() {
            let taken =
                one.is_member && other.by != one.by && one.reference.is_same(other.reference);
            if taken && other.is_member && index < later {
                let message = format!(
                    "{} is a member of {} already; a link is a member of one other",
                    other.reference,
                    call(network, one.by)
                );
                check.refuse(&other.path, message);
            } else if taken && !other.is_member && is_bond(one.by) {
                let master = call(network, one.by);
                let message = format!(
                    "{} is a member of {master}; make the VLAN of {master}",
                    other.reference
                );
                check.refuse(&other.path, message);
            }
        }
    }
}

/// The entries that one needs.
fn needs(network: &Network, index: usize) -> impl Iterator<Item = usize> + '_ {
    let entry = network.links.get(index);
    let references = entry
        .into_iter()
        .flat_map(|entry| entry.members().iter().chain(entry.parent()));
    references.filter_map(|reference| meant(network, reference).map(|(index, _)| index))
}

/// A link that would have to be there before it is made.
fn check_cycles(check: &mut Check<'_>, network: &Network) {
    let mut told = vec![false; network.links.len()];
    for start in 0..network.links.len() {
        let mut seen = vec![false; network.links.len()];
        let mut open: Vec<usize> = needs(network, start).collect();
        while let Some(index) = open.pop() {
            let Some(mark) = seen.get_mut(index) else {
                continue;
            };
            if !std::mem::replace(mark, true) {
                open.extend(needs(network, index));
            }
        }
        let in_cycle = |index: usize| seen.get(index).copied().unwrap_or(false);
        let cycle: Vec<usize> = (0..network.links.len())
            .filter(|index| in_cycle(*index))
            .collect();
        if !in_cycle(start) || told.get(start).copied().unwrap_or(true) {
            continue;
        }
        cycle.iter().for_each(|index| {
            if let Some(told) = told.get_mut(*index) {
                *told = true;
            }
        });
        let message = format!(
            "{} would be made of itself; break the circle",
            call(network, start)
        );
        check.refuse(format!("network.links[{start}]"), message);
    }
}

/// A VLAN cannot carry more than its parent.
fn check_mtu(check: &mut Check<'_>, network: &Network) {
    for (index, entry) in network.links.iter().enumerate() {
        let parent = entry.parent().and_then(|parent| meant(network, parent));
        let Some((at, parent)) = parent else { continue };
        if let (Some(mtu), Some(most)) = (entry.mtu, parent.mtu)
            && mtu > most
        {
            let message = format!(
                "mtu {mtu} is above the {most} of its parent {}; raise that or lower this",
                call(network, at)
            );
            check.refuse(format!("network.links[{index}].mtu"), message);
        }
    }
}
