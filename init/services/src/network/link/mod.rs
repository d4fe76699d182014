//! The kinds of links, one file each: which links are of the kind, and what such a link shall be.

use spec_config::Network;

use crate::network::dhcp::Lease;
use crate::network::state::{Desired, Link};

mod ethernet;
mod loopback;

/// A kind. One row in [`KINDS`] to add one.
struct Kind {
    /// Whether a link is of this kind.
    recognises: fn(&Link) -> bool,
    /// What a link of this kind shall be; `None` leaves it alone.
    desired: fn(&Network, &Link, Option<&Lease>) -> Option<Desired>,
}

const KINDS: &[Kind] = &[loopback::KIND, ethernet::KIND];

/// What a link shall be; `None` leaves it alone.
pub(crate) fn desired(network: &Network, link: &Link, lease: Option<&Lease>) -> Option<Desired> {
    let kind = KINDS.iter().find(|kind| (kind.recognises)(link))?;
    (kind.desired)(network, link, lease)
}

/// The entry of the config that is for this link: the first whose conditions all hold.
pub(crate) fn entry_for<'a>(network: &'a Network, link: &Link) -> Option<&'a spec_config::Link> {
    network.links.iter().find(|entry| is_for(entry, link))
}

/// Whether an entry's conditions hold for a link.
pub(crate) fn is_for(entry: &spec_config::Link, link: &Link) -> bool {
    let wanted = &entry.matches;
    let mac = wanted
        .mac
        .is_none_or(|mac| Some(mac.0) == link.permanent_mac.or(link.mac));
    let name = wanted.name.as_ref().is_none_or(|name| *name == link.name);
    let driver = wanted
        .driver
        .as_ref()
        .is_none_or(|driver| Some(driver) == link.driver.as_ref());
    let any = wanted.mac.is_some() || wanted.name.is_some() || wanted.driver.is_some();
    any && mac && name && driver
}
