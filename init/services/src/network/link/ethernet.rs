//! Ethernet links: what the config's entry says; without any entry in the config, DHCPv4 on each that has a device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use spec_config::{Address, Destination, Network};

use crate::network::dhcp::Lease;
use crate::network::link::{Kind, entry_for};
use crate::network::state::{Desired, EVERYWHERE, Layer, Link, Origin, Route};

/// Metric of a lease's routes: what the config asks for comes first.
const DHCP_METRIC: u32 = 1024;
/// What the kernel gives an IPv6 route without one.
const IPV6_METRIC: u32 = 1024;

pub(super) const KIND: Kind = Kind {
    recognises: |link| link.layer == Layer::Ethernet,
    desired,
    maker: None,
};

/// What an Ethernet link shall be, a made one too.
pub(super) fn desired(network: &Network, link: &Link, lease: Option<&Lease>) -> Option<Desired> {
    let mut desired = if network.links.is_empty() {
        if !link.physical {
            return None;
        }
        Desired {
            dhcp4: true,
            ..Desired::default()
        }
    } else {
        let entry = entry_for(network, link)?;
        Desired {
            mtu: entry.mtu,
            addresses: entry.addresses.clone(),
            routes: entry.routes.iter().map(static_route).collect(),
            dhcp4: entry.dhcp4,
            mac: entry.mac.map(|mac| mac.0),
            stands_alone: true,
            ..Desired::default()
        }
    };
    if let Some(lease) = lease.filter(|_| desired.dhcp4) {
        add_lease(&mut desired, link, lease);
    }
    Some(desired)
}

fn static_route(route: &spec_config::Route) -> Route {
    let to = match (route.to, route.via) {
        (Destination::Network(to), _) => network_of(to),
        (Destination::Default, Some(IpAddr::V6(_))) => Address {
            ip: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            prefix: 0,
        },
        (Destination::Default, _) => EVERYWHERE,
    };
    let default_metric = if to.ip.is_ipv6() { IPV6_METRIC } else { 0 };
    Route {
        to,
        via: route.via,
        // The kernel takes 0 as none, and says another for IPv6.
        metric: route
            .metric
            .filter(|metric| *metric != 0)
            .unwrap_or(default_metric),
        origin: Origin::Static,
        on_link: false,
    }
}

fn add_lease(desired: &mut Desired, link: &Link, lease: &Lease) {
    desired.addresses.push(Address {
        ip: lease.address.into(),
        prefix: lease.prefix,
    });
    desired
        .routes
        .extend(lease.routes.iter().map(|(to, prefix, router)| Route {
            to: Address {
                ip: (*to).into(),
                prefix: *prefix,
            },
            via: (*router != Ipv4Addr::UNSPECIFIED).then_some((*router).into()),
            metric: DHCP_METRIC,
            origin: Origin::Dhcp,
            on_link: false,
        }));
    let fits = |mtu: &u32| link.max_mtu == 0 || *mtu <= link.max_mtu;
    desired.mtu = desired.mtu.or(lease.mtu.map(u32::from).filter(fits));
}

/// The network an address is in: the kernel refuses a destination with bits beyond its prefix.
fn network_of(address: Address) -> Address {
    let ip = match address.ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(address.prefix.min(32)))
                .unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(ip) & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(address.prefix.min(128)))
                .unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask))
        }
    };
    Address {
        ip,
        prefix: address.prefix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::dhcp::lease::tests::hour;

    fn network() -> Network {
        serde_json::from_str(
            r#"{"nameservers": ["10.77.0.1"], "links": [{
                "match": {"mac": "52:54:00:00:00:01"}, "addresses": ["10.77.0.11/24", "fd00:77::11/64"], "mtu": 1400,
                "routes": [{"to": "default", "via": "10.77.0.1"}, {"to": "default", "via": "fd00:77::1"},
                           {"to": "10.9.8.7/16", "via": "10.77.0.2", "metric": 7}]}]}"#,
        )
        .unwrap()
    }

    fn link() -> Link {
        Link {
            index: 2,
            name: "enp0s2".into(),
            layer: Layer::Ethernet,
            mac: Some([0x52, 0x54, 0, 0, 0, 1]),
            physical: true,
            ..Link::default()
        }
    }

    #[test]
    fn the_entry_of_the_config_is_taken_whole() {
        let desired = desired(&network(), &link(), None).unwrap();
        assert_eq!(desired.addresses.len(), 2);
        assert_eq!((desired.mtu, desired.dhcp4), (Some(1400), false));
        let routes: Vec<String> = desired
            .routes
            .iter()
            .map(|route| format!("{} {}", route.to, route.metric))
            .collect();
        assert_eq!(routes, ["0.0.0.0/0 0", "::/0 1024", "10.9.0.0/16 7"]);
    }

    #[test]
    fn a_link_without_an_entry_is_left_alone() {
        let other = Link {
            mac: Some([9; 6]),
            ..link()
        };
        assert_eq!(desired(&network(), &other, None), None);
        let bonded = Link {
            mac: Some([9; 6]),
            permanent_mac: link().mac,
            ..link()
        };
        assert!(desired(&network(), &bonded, None).is_some());
    }

    #[test]
    fn every_condition_of_an_entry_must_hold() {
        let mut network = network();
        network.links[0].matches.driver = Some("virtio_net".into());
        assert_eq!(desired(&network, &link(), None), None);
        let driven = Link {
            driver: Some("virtio_net".into()),
            ..link()
        };
        assert!(desired(&network, &driven, None).is_some());
    }

    #[test]
    fn without_a_config_each_device_asks_by_dhcp() {
        let desired = |link: &Link, lease| super::desired(&Network::default(), link, lease);
        assert!(desired(&link(), None).unwrap().dhcp4);
        assert_eq!(
            desired(
                &Link {
                    physical: false,
                    ..link()
                },
                None
            ),
            None
        );
        let lease = hour();
        let bound = desired(&link(), Some(&lease)).unwrap();
        assert_eq!(bound.addresses, ["10.0.2.15/24".parse().unwrap()]);
        assert_eq!(bound.routes[0].metric, DHCP_METRIC);
    }

    #[test]
    fn a_lease_cannot_ask_for_more_than_the_link_carries() {
        let lease = Lease {
            mtu: Some(9000),
            ..hour()
        };
        let small = Link {
            max_mtu: 1500,
            ..link()
        };
        assert_eq!(
            desired(&Network::default(), &small, Some(&lease))
                .unwrap()
                .mtu,
            None
        );
        assert_eq!(
            desired(&Network::default(), &link(), Some(&lease))
                .unwrap()
                .mtu,
            Some(9000)
        );
    }
}
