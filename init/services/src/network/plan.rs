//! All links together: the steps of each, in one order in which they succeed. Pure.

use std::collections::BTreeMap;

use crate::network::state::{Assigned, Change, Desired, Link, Need, Route, changes};

/// What is, as it was read from the kernel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kernel {
    /// All links.
    pub links: Vec<Link>,
    /// All addresses, with the index of their link.
    pub addresses: Vec<(u32, Assigned)>,
    /// The routes of this service, with the index of their link.
    pub routes: Vec<(u32, Route)>,
}

impl Kernel {
    /// The link with this index.
    pub(crate) fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The addresses of a link.
    pub(crate) fn addresses_of(&self, index: u32) -> Vec<Assigned> {
        of(index, &self.addresses)
    }

    /// The routes over a link.
    pub(crate) fn routes_of(&self, index: u32) -> Vec<Route> {
        of(index, &self.routes)
    }

    /// How many links carry this one's frames, one below the other.
    fn depth(&self, link: &Link) -> usize {
        let mut next = link.parent;
        let mut depth = 0;
        while let Some(parent) = next.and_then(|index| self.link(index)) {
            depth += 1;
            next = parent.parent.filter(|_| depth < self.links.len());
        }
        depth
    }
}

fn of<T: Clone>(index: u32, all: &[(u32, T)]) -> Vec<T> {
    let own = all.iter().filter(|(of, _)| *of == index);
    own.map(|(_, item)| item.clone()).collect()
}

/// The steps for all links that somebody wants something of, each with the index of its link.
///
/// First goes what is not wanted any more, so that an address can move from one link to another; a bond is down and
/// empty only while an option is changed that asks for it; what carries comes before what is carried.
pub(crate) fn plan(kernel: &Kernel, desired: &BTreeMap<u32, Desired>) -> Vec<(u32, Change)> {
    let emptied: Vec<u32> = kernel
        .links
        .iter()
        .filter(|link| {
            let wanted = desired.get(&link.index);
            wanted.is_some_and(|wanted| wanted.unset(link).any(|(_, need)| need == Need::NoMembers))
        })
        .map(|link| link.index)
        .collect();
    let mut links: Vec<&Link> = kernel.links.iter().collect();
    links.sort_by_key(|link| (kernel.depth(link), link.index));
    let mut steps = Vec::new();
    for link in links {
        let index = link.index;
        let mut link = link.clone();
        if link.master.is_some_and(|master| emptied.contains(&master)) {
            steps.push((index, Change::Release));
            link.master = None;
            // A bond takes down what it lets go.
            link.up = false;
        }
        let Some(wanted) = desired.get(&index) else {
            continue;
        };
        let (addresses, routes) = (kernel.addresses_of(index), kernel.routes_of(index));
        let own = changes(&link, &addresses, &routes, wanted);
        steps.extend(own.into_iter().map(|change| (index, change)));
    }
    steps.sort_by_key(|(_, change)| change.order());
    steps
}

#[cfg(test)]
mod tests;
