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
    /// The kernel's name of its kind, such as `bond`; empty where a device made it.
    pub kind: String,
    /// Options of its kind, those that this service knows.
    pub settings: Vec<Setting>,
    /// Index of the bond or bridge that it is a member of.
    pub master: Option<u32>,
    /// Index of the link that carries its frames; only of a VLAN.
    pub parent: Option<u32>,
    /// A note for people, and of this service for itself.
    pub alias: Option<String>,
    /// Where its device is, as udev's ID_PATH.
    pub path: Option<String>,
}

/// An option of a kind of links, with the kernel's own number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// `mode`.
    BondMode(u8),
    /// `miimon` in milliseconds.
    BondMiimon(u32),
    /// `lacp_rate`.
    BondLacpRate(u8),
    /// `min_links`.
    BondMinLinks(u32),
    /// `xmit_hash_policy`.
    BondXmitHashPolicy(u8),
    /// Index of `primary`, 0 for none.
    BondPrimary(u32),
    /// `stp_state`.
    BridgeStp(bool),
    /// `id`.
    VlanId(u16),
}

/// When an option of a link that is there can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// At any time.
    Nothing,
    /// While the link is down.
    Down,
    /// While the link is down and has no members.
    NoMembers,
    /// Once its members are in.
    Members,
    /// Never: the link is made anew.
    NewLink,
}

/// The bond or bridge that a link is a member of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Its index.
    pub index: u32,
    /// It takes in only links that are down, and brings them up itself.
    pub takes_down: bool,
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
    /// Hardware address, if it matters.
    pub mac: Option<[u8; 6]>,
    /// What it is a member of.
    pub master: Option<Membership>,
    /// Without a master of its own it is nobody's member; else a master that others gave it stays.
    pub stands_alone: bool,
    /// Options of its kind.
    pub settings: Vec<(Setting, Need)>,
    /// Note to put on it.
    pub alias: Option<String>,
}

impl Desired {
    /// The options that are not as they shall be.
    pub(crate) fn unset<'a>(
        &'a self,
        link: &'a Link,
    ) -> impl Iterator<Item = (Setting, Need)> + 'a {
        let differs = |(setting, _): &&(Setting, Need)| !link.settings.contains(setting);
        self.settings.iter().filter(differs).copied()
    }
}

/// One step. They are in the order in which they succeed, and in which traffic is disturbed for the shortest time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Remove a route.
    RemoveRoute(Route),
    /// Remove an address.
    RemoveAddress(Address),
    /// Take it out of its bond or bridge.
    Release,
    /// Take it down.
    Down,
    /// Set options of its kind.
    Set(Vec<Setting>),
    /// Put a note on it.
    Alias(String),
    /// Set the hardware address.
    Mac([u8; 6]),
    /// Make it a member of the link with this index.
    Enslave(u32),
    /// Set the largest packet.
    Mtu(u32),
    /// Bring it up.
    Up,
    /// Set options of its kind that speak of its members.
    SetLast(Vec<Setting>),
    /// Add an address.
    AddAddress(Address),
    /// Add a route.
    AddRoute(Route),
}

impl Change {
    /// Its place in the order.
    pub(crate) fn order(&self) -> u8 {
        match self {
            Self::RemoveRoute(_) => 0,
            Self::RemoveAddress(_) => 1,
            Self::Release => 2,
            Self::Down => 3,
            Self::Set(_) => 4,
            Self::Alias(_) => 5,
            Self::Mac(_) => 6,
            Self::Enslave(_) => 7,
            Self::Mtu(_) => 8,
            Self::Up => 9,
            Self::SetLast(_) => 10,
            Self::AddAddress(_) => 11,
            Self::AddRoute(_) => 12,
        }
    }
}

/// The steps from what is to what shall be, for one link.
pub(crate) fn changes(
    link: &Link,
    addresses: &[Assigned],
    routes: &[Route],
    desired: &Desired,
) -> Vec<Change> {
    let mut steps = Vec::new();
    if !desired.keeps_others {
        steps.extend(stale(addresses, routes, desired));
    }
    let up = link_changes(link, desired, &mut steps);
    // Who goes down loses its routes and its IPv6 addresses, whatever was read before.
    let missing = |wanted: &&Address| {
        let there = addresses.iter().any(|have| have.address == **wanted);
        !there || (up == Up::Lost && wanted.ip.is_ipv6())
    };
    let wanted = desired.addresses.iter().filter(missing);
    steps.extend(wanted.copied().map(Change::AddAddress));
    let missing = |wanted: &&Route| up != Up::Stays || !routes.iter().any(|have| have.is(wanted));
    let wanted = desired.routes.iter().filter(missing);
    steps.extend(wanted.map(|route| Change::AddRoute(reachable(route, desired))));
    steps.sort_by_key(Change::order);
    steps
}

/// What the steps do to a link's being up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Up {
    /// It is up and stays so.
    Stays,
    /// It is down and comes up.
    Comes,
    /// It is up, goes down and comes back.
    Lost,
}

/// The steps of the link itself.
fn link_changes(link: &Link, desired: &Desired, steps: &mut Vec<Change>) -> Up {
    let (last, first): (Vec<_>, Vec<_>) = desired
        .unset(link)
        .filter(|(_, need)| *need != Need::NewLink)
        .partition(|(_, need)| *need == Need::Members);
    let joins = desired.master.filter(|to| link.master != Some(to.index));
    let leaves = link.master.is_some()
        && (joins.is_some() || (desired.master.is_none() && desired.stands_alone));
    let down_for_options = first
        .iter()
        .any(|(_, need)| matches!(need, Need::Down | Need::NoMembers));
    // A link that leaves a bond is taken down by the kernel.
    let down = link.up && !leaves && (down_for_options || joins.is_some_and(|to| to.takes_down));
    let settings = |pairs: Vec<(Setting, Need)>| pairs.into_iter().map(|(setting, _)| setting);
    if leaves {
        steps.push(Change::Release);
    }
    if down || (leaves && down_for_options) {
        steps.push(Change::Down);
    }
    if !first.is_empty() {
        steps.push(Change::Set(settings(first).collect()));
    }
    if let Some(alias) = desired
        .alias
        .as_ref()
        .filter(|alias| link.alias.as_ref() != Some(alias))
    {
        steps.push(Change::Alias(alias.clone()));
    }
    if let Some(mac) = desired.mac.filter(|mac| link.mac != Some(*mac)) {
        steps.push(Change::Mac(mac));
    }
    steps.extend(joins.map(|to| Change::Enslave(to.index)));
    if let Some(mtu) = desired.mtu.filter(|mtu| *mtu != link.mtu) {
        steps.push(Change::Mtu(mtu));
    }
    let brought_up = joins.is_some_and(|to| to.takes_down);
    if (!link.up || down || leaves) && !brought_up {
        steps.push(Change::Up);
    }
    if !last.is_empty() {
        steps.push(Change::SetLast(settings(last).collect()));
    }
    match link.up {
        false => Up::Comes,
        true if down || leaves => Up::Lost,
        true => Up::Stays,
    }
}

/// The steps that take away what is not wanted any more.
fn stale<'a>(
    addresses: &'a [Assigned],
    routes: &'a [Route],
    desired: &'a Desired,
) -> impl Iterator<Item = Change> + 'a {
    let routes = routes
        .iter()
        .filter(|route| !desired.routes.iter().any(|wanted| wanted.is(route)));
    let addresses = addresses
        .iter()
        .filter(|have| have.global && have.permanent && !desired.addresses.contains(&have.address));
    let addresses = addresses.map(|have| Change::RemoveAddress(have.address));
    routes.cloned().map(Change::RemoveRoute).chain(addresses)
}

/// A next hop outside every prefix of the link can only be on the link itself.
fn reachable(route: &Route, desired: &Desired) -> Route {
    let mut route = route.clone();
    let local = |via: IpAddr| matches!(via, IpAddr::V6(ip) if ip.is_unicast_link_local());
    route.on_link = route.via.is_some_and(|via| {
        !local(via)
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
    if desired
        .master
        .is_some_and(|master| link.master != Some(master.index))
    {
        return Some(format!("{name}: it is not a member yet"));
    }
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
