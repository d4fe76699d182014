//! Links as they are and as they shall be, and the changes from the one to the other. Pure.

use std::net::{IpAddr, Ipv4Addr};

use spec_config::Address;

/// What carries the link's frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Layer {
    /// The loopback device.
    Loopback,
    /// Ethernet, or what looks like it.
    Ethernet,
    /// All else.
    #[default]
    Other,
}

/// A link as the kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// What carries its frames.
    pub layer: Layer,
    /// Hardware address in use.
    pub mac: Option<[u8; 6]>,
    /// Hardware address it was made with.
    pub permanent_mac: Option<[u8; 6]>,
    /// Kernel driver; only a link with a device has one.
    pub driver: Option<String>,
    /// Whether there is a device behind it.
    pub physical: bool,
    /// Administratively up.
    pub up: bool,
    /// Something is at the other end.
    pub carrier: bool,
    /// Largest packet.
    pub mtu: u32,
    /// Largest packet that can be set, 0 where unknown.
    pub max_mtu: u32,
}

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assigned {
    /// The address.
    pub address: Address,
    /// Not of the link or the host only.
    pub global: bool,
    /// Without an end of its own; what router advertisements give has one.
    pub permanent: bool,
    /// Duplicate address detection still runs.
    pub tentative: bool,
    /// Somebody else on the link has it.
    pub duplicate: bool,
}

/// Who asked for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The config.
    Static,
    /// A lease.
    Dhcp,
}

/// A route over a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// Destination.
    pub to: Address,
    /// Next hop.
    pub via: Option<IpAddr>,
    /// Lower is preferred.
    pub metric: u32,
    /// Who asked for it.
    pub origin: Origin,
    /// The next hop is on the link though no prefix says so.
    pub on_link: bool,
}

impl Route {
    /// The same route; how it is to be reached is no part of that.
    fn is(&self, other: &Self) -> bool {
        (self.to, self.via, self.metric, self.origin)
            == (other.to, other.via, other.metric, other.origin)
    }
}

/// A link as it shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Desired {
    /// Largest packet, if it matters.
    pub mtu: Option<u32>,
    /// Addresses.
    pub addresses: Vec<Address>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Ask for an address.
    pub dhcp4: bool,
    /// Addresses and routes beside these stay.
    pub keeps_others: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Bring it up.
    Up,
    /// Set the largest packet.
    Mtu(u32),
    /// Add an address.
    AddAddress(Address),
    /// Remove an address.
    RemoveAddress(Address),
    /// Add a route.
    AddRoute(Route),
    /// Remove a route.
    RemoveRoute(Route),
}

/// The steps from what is to what shall be, in the order in which they succeed.
pub(crate) fn changes(
    link: &Link,
    addresses: &[Assigned],
    routes: &[Route],
    desired: &Desired,
) -> Vec<Change> {
    let mut steps = Vec::new();
    if let Some(mtu) = desired.mtu.filter(|mtu| *mtu != link.mtu) {
        steps.push(Change::Mtu(mtu));
    }
    if !link.up {
        steps.push(Change::Up);
    }
    if !desired.keeps_others {
        let stale = |route: &&Route| !desired.routes.iter().any(|wanted| wanted.is(route));
        steps.extend(
            routes
                .iter()
                .filter(stale)
                .cloned()
                .map(Change::RemoveRoute),
        );
        let stale = |have: &&Assigned| {
            have.global && have.permanent && !desired.addresses.contains(&have.address)
        };
        steps.extend(
            addresses
                .iter()
                .filter(stale)
                .map(|have| Change::RemoveAddress(have.address)),
        );
    }
    let missing = |wanted: &&Address| !addresses.iter().any(|have| have.address == **wanted);
    steps.extend(
        desired
            .addresses
            .iter()
            .filter(missing)
            .copied()
            .map(Change::AddAddress),
    );
    let missing = |wanted: &&Route| !routes.iter().any(|have| have.is(wanted));
    // A link that was down has lost its routes, whatever was read before.
    let lost = |wanted: &&Route| !link.up || missing(wanted);
    steps.extend(
        desired
            .routes
            .iter()
            .filter(lost)
            .map(|route| Change::AddRoute(reachable(route, desired))),
    );
    steps
}

/// A next hop outside every prefix of the link can only be on the link itself.
fn reachable(route: &Route, desired: &Desired) -> Route {
    let mut route = route.clone();
    route.on_link = route.via.is_some_and(|via| {
        via.is_ipv4()
            && !desired
                .addresses
                .iter()
                .any(|address| address.contains(via))
    });
    route
}

/// What a link still lacks to be called configured.
pub(crate) fn lacking(
    link: &Link,
    addresses: &[Assigned],
    desired: &Desired,
    has_lease: bool,
) -> Option<String> {
    let name = &link.name;
    if desired.dhcp4 && !has_lease {
        let why = if link.carrier {
            "no DHCP server has answered"
        } else {
            "no carrier"
        };
        return Some(format!("{name}: {why}"));
    }
    for wanted in &desired.addresses {
        match addresses.iter().find(|have| have.address == *wanted) {
            None => return Some(format!("{name}: {wanted} is not assigned")),
            Some(have) if have.duplicate => {
                return Some(format!("{name}: another machine has {wanted}"));
            }
            Some(have) if have.tentative => {
                return Some(format!("{name}: {wanted} is being checked for duplicates"));
            }
            Some(_) => {}
        }
    }
    None
}

/// The whole of IPv4.
pub(crate) const EVERYWHERE: Address = Address {
    ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    prefix: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link {
            index: 2,
            name: "enp0s2".into(),
            up: true,
            carrier: true,
            mtu: 1500,
            ..Link::default()
        }
    }

    fn assigned(text: &str) -> Assigned {
        Assigned {
            address: text.parse().unwrap(),
            global: true,
            permanent: true,
            tentative: false,
            duplicate: false,
        }
    }

    fn default_route(via: &str) -> Route {
        Route {
            to: EVERYWHERE,
            via: Some(via.parse().unwrap()),
            metric: 0,
            origin: Origin::Static,
            on_link: false,
        }
    }

    fn desired() -> Desired {
        Desired {
            mtu: Some(1400),
            addresses: vec!["10.77.0.11/24".parse().unwrap()],
            routes: vec![default_route("10.77.0.1")],
            ..Desired::default()
        }
    }

    #[test]
    fn a_fresh_link_gets_everything_in_order() {
        let down = Link {
            up: false,
            ..link()
        };
        assert_eq!(
            changes(&down, &[], &[], &desired()),
            [
                Change::Mtu(1400),
                Change::Up,
                Change::AddAddress("10.77.0.11/24".parse().unwrap()),
                Change::AddRoute(default_route("10.77.0.1")),
            ]
        );
    }

    #[test]
    fn a_configured_link_gets_nothing() {
        let link = Link {
            mtu: 1400,
            ..link()
        };
        let steps = changes(
            &link,
            &[assigned("10.77.0.11/24")],
            &[default_route("10.77.0.1")],
            &desired(),
        );
        assert_eq!(steps, []);
    }

    #[test]
    fn what_is_not_wanted_any_more_goes_first() {
        let link = Link {
            mtu: 1400,
            ..link()
        };
        let steps = changes(
            &link,
            &[assigned("10.77.0.12/24")],
            &[default_route("10.77.0.254")],
            &desired(),
        );
        assert_eq!(
            steps,
            [
                Change::RemoveRoute(default_route("10.77.0.254")),
                Change::RemoveAddress("10.77.0.12/24".parse().unwrap()),
                Change::AddAddress("10.77.0.11/24".parse().unwrap()),
                Change::AddRoute(default_route("10.77.0.1")),
            ]
        );
    }

    #[test]
    fn link_local_and_advertised_addresses_stay() {
        let local = Assigned {
            global: false,
            ..assigned("fe80::1/64")
        };
        let advertised = Assigned {
            permanent: false,
            ..assigned("2001:db8::1/64")
        };
        let steps = changes(&link(), &[local, advertised], &[], &Desired::default());
        assert_eq!(steps, []);
    }

    #[test]
    fn a_next_hop_outside_the_prefix_is_on_the_link() {
        let cloud = Desired {
            addresses: vec!["10.128.0.5/32".parse().unwrap()],
            routes: vec![default_route("10.128.0.1")],
            ..Desired::default()
        };
        let steps = changes(&link(), &[], &[], &cloud);
        assert!(matches!(&steps[1], Change::AddRoute(route) if route.on_link));
    }

    #[test]
    fn what_lacks_is_said() {
        let tentative = Assigned {
            tentative: true,
            ..assigned("10.77.0.11/24")
        };
        assert!(
            lacking(&link(), &[], &desired(), false)
                .unwrap()
                .contains("10.77.0.11/24 is not assigned")
        );
        assert!(
            lacking(&link(), &[tentative], &desired(), false)
                .unwrap()
                .contains("duplicates")
        );
        assert_eq!(
            lacking(&link(), &[assigned("10.77.0.11/24")], &desired(), false),
            None
        );
        let dhcp = Desired {
            dhcp4: true,
            ..Desired::default()
        };
        assert_eq!(
            lacking(&link(), &[], &dhcp, false).unwrap(),
            "enp0s2: no DHCP server has answered"
        );
        let unplugged = Link {
            carrier: false,
            ..link()
        };
        assert_eq!(
            lacking(&unplugged, &[], &dhcp, false).unwrap(),
            "enp0s2: no carrier"
        );
    }
}
