//! The kinds of links, one file each: which links are of the kind, what such a link shall be, and of those that are
//! made, how.

use std::collections::{BTreeMap, BTreeSet};

use spec_config::{LinkKind, LinkMatch, LinkReference, Network};
use spec_layout::glob;

use crate::network::dhcp::Lease;
use crate::network::state::{Desired, Link, Membership, Need, Setting};
use crate::network::structure::note;

mod bond;
mod bridge;
mod dummy;
mod ethernet;
mod loopback;
mod vlan;

/// A kind. One row in [`KINDS`] to add one.
struct Kind {
    /// Whether a link is of this kind.
    recognises: fn(&Link) -> bool,
    /// What a link of this kind shall be; `None` leaves it alone.
    desired: fn(&Network, &Link, Option<&Lease>) -> Option<Desired>,
    /// How such links are made; `None` where only a device makes them.
    maker: Option<Maker>,
}

/// Options that a link shall have, and when each can be changed.
pub(crate) type Settings = Vec<(Setting, Need)>;

/// How links of a kind are made.
pub(crate) struct Maker {
    /// The kernel's name of the kind (`IFLA_INFO_KIND`); its module's alias is `rtnl-link-KIND`.
    pub kind: &'static str,
    /// Whether an entry asks for one.
    pub is_for: fn(LinkKind<'_>) -> bool,
    /// The options that an entry asks for.
    pub settings: fn(&Network, &[Link], &spec_config::Link) -> Settings,
    /// Its members are taken in while they are down, and brought up with it.
    pub takes_down: bool,
}

const KINDS: &[Kind] = &[
    loopback::KIND,
    bond::KIND,
    bridge::KIND,
    dummy::KIND,
    vlan::KIND,
    ethernet::KIND,
];

/// How the link of an entry is made; nothing for an entry that is for a link that is there.
pub(crate) fn maker(entry: &spec_config::Link) -> Option<&'static Maker> {
    let mut makers = KINDS.iter().filter_map(|kind| kind.maker.as_ref());
    makers.find(|maker| (maker.is_for)(entry.kind()))
}

/// Whether a link is of a kind that is made.
pub(crate) fn is_made(link: &Link) -> bool {
    let mut makers = KINDS.iter().filter_map(|kind| kind.maker.as_ref());
    makers.any(|maker| maker.kind == link.kind)
}

/// What each link shall be, by its index; a link that is not there is left alone.
pub(crate) fn desired(
    network: &Network,
    links: &[Link],
    leases: &BTreeMap<u32, Lease>,
) -> BTreeMap<u32, Desired> {
    let members = members(network, links);
    let parents: BTreeSet<u32> = network
        .links
        .iter()
        .filter_map(|entry| {
            find(network, links, entry.parent()?)
                .first()
                .map(|link| link.index)
        })
        .collect();
    let mut all = BTreeMap::new();
    for link in links {
        let entry = entry_for(network, link);
        let mut desired = match members.get(&link.index) {
            Some(master) => Some(member(entry, *master)),
            None => of_kind(network, link, leases.get(&link.index)),
        };
        if desired.is_none() && parents.contains(&link.index) {
            // It has to be up for others; no entry says more.
            desired = Some(Desired {
                keeps_others: true,
                ..Desired::default()
            });
        }
        let Some(mut desired) = desired else { continue };
        if let Some((entry, maker)) = entry.and_then(|entry| Some((entry, maker(entry)?))) {
            desired.settings = (maker.settings)(network, links, entry);
            desired.alias = Some(note(&link.name));
        }
        all.insert(link.index, desired);
    }
    all
}

fn of_kind(network: &Network, link: &Link, lease: Option<&Lease>) -> Option<Desired> {
    let kind = KINDS.iter().find(|kind| (kind.recognises)(link))?;
    (kind.desired)(network, link, lease)
}

/// A member: what it carries is its master's.
fn member(entry: Option<&spec_config::Link>, master: Membership) -> Desired {
    let own = entry.filter(|_| !master.takes_down);
    Desired {
        mtu: own.and_then(|entry| entry.mtu),
        mac: own.and_then(|entry| Some(entry.mac?.0)),
        master: Some(master),
        stands_alone: true,
        ..Desired::default()
    }
}

/// The master of each link that is a member. Where two entries claim a link, the first has it.
fn members(network: &Network, links: &[Link]) -> BTreeMap<u32, Membership> {
    let mut members = BTreeMap::new();
    for entry in &network.links {
        let (Some(maker), Some(master)) = (maker(entry), own_link(links, entry)) else {
            continue;
        };
        for reference in entry.members() {
            for link in find(network, links, reference) {
                let membership = Membership {
                    index: master.index,
                    takes_down: maker.takes_down,
                };
                if link.index != master.index {
                    members.entry(link.index).or_insert(membership);
                }
            }
        }
    }
    members
}

/// The link that an entry makes, where it is there.
pub(crate) fn own_link<'a>(links: &'a [Link], entry: &spec_config::Link) -> Option<&'a Link> {
    entry.name.as_ref()?;
    links.iter().find(|link| is_for(entry, link))
}

/// What the config speaks of and is not here, one line each; links that are still to be made aside.
pub(crate) fn absent(network: &Network, links: &[Link]) -> Vec<String> {
    let mut absent = Vec::new();
    for entry in &network.links {
        match own_link(links, entry) {
            Some(own) => {
                let lost = entry
                    .members()
                    .iter()
                    .filter(|of| find(network, links, of).is_empty());
                absent.extend(lost.map(|of| format!("{}: its member {of} is not here", own.name)));
            }
            None if entry.name.is_none() && !links.iter().any(|link| is_for(entry, link)) => {
                let wanted = &entry.matches;
                absent.push(format!("no link is here for the entry with match {wanted}"));
            }
            None => {}
        }
    }
    absent
}

/// The links that a reference means.
pub(crate) fn find<'a>(
    network: &Network,
    links: &'a [Link],
    reference: &LinkReference,
) -> Vec<&'a Link> {
    let is_meant = |link: &Link| match reference {
        LinkReference::Match(wanted) => matches(wanted, link),
        LinkReference::Name(name) => {
            let mut entries = network.links.iter();
            let entry = entries.find(|entry| entry.own_name() == Some(name));
            entry.is_some_and(|entry| is_for(entry, link))
        }
    };
    links.iter().filter(|link| is_meant(link)).collect()
}

/// The entry of the config that is for this link: the first whose conditions all hold.
pub(crate) fn entry_for<'a>(network: &'a Network, link: &Link) -> Option<&'a spec_config::Link> {
    network.links.iter().find(|entry| is_for(entry, link))
}

/// Whether an entry is for a link: it makes it, or its conditions hold.
pub(crate) fn is_for(entry: &spec_config::Link, link: &Link) -> bool {
    match (&entry.name, maker(entry)) {
        (Some(name), Some(maker)) => name.as_str() == link.name && maker.kind == link.kind,
        _ => matches(&entry.matches, link),
    }
}

/// Whether the conditions of a match hold for a link. A bond or VLAN has the hardware address of another link, which
/// is the one meant.
fn matches(wanted: &LinkMatch, link: &Link) -> bool {
    let own_mac = link.permanent_mac.or(link.mac.filter(|_| !is_made(link)));
    let mac = wanted.mac.is_none_or(|mac| Some(mac.0) == own_mac);
    let name = wanted.name.as_ref().is_none_or(|name| *name == link.name);
    let driver = wanted
        .driver
        .as_ref()
        .is_none_or(|driver| Some(driver) == link.driver.as_ref());
    let path = wanted.path.as_ref().is_none_or(|pattern| {
        let path = link.path.as_ref();
        path.is_some_and(|path| glob::matches(pattern, path))
    });
    !wanted.is_empty() && mac && name && driver && path
}

#[cfg(test)]
mod tests;
