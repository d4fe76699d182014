//! rtnetlink(7): the one folder that knows the netlink crates, which change often and together.

mod link;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::{Stream, StreamExt, TryStreamExt};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};
use spec_config::Address;

use crate::network::state::{Assigned, Origin, Route};

/// A connection to the kernel.
#[derive(Clone)]
pub(crate) struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Connects; the stream gives one item per change of a link, an address or a route.
    pub(crate) fn connect() -> io::Result<(Self, impl Stream<Item = ()> + Unpin)> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ];
        let (connection, handle, messages) = rtnetlink::new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        Ok((Self { handle }, messages.map(|_| ())))
    }

    /// All addresses, with the index of their link.
    pub(crate) async fn addresses(&self) -> io::Result<Vec<(u32, Assigned)>> {
        let messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(other)?;
        Ok(messages.iter().filter_map(read_address).collect())
    }

    /// The routes of the main table that this service made, with the index of their link.
    pub(crate) async fn routes(&self) -> io::Result<Vec<(u32, Route)>> {
        let mut routes = Vec::new();
        let families = [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ];
        for family in families {
            let messages: Vec<RouteMessage> = self
                .handle
                .route()
                .get(family)
                .execute()
                .try_collect()
                .await
                .map_err(other)?;
            routes.extend(messages.iter().filter_map(read_route));
        }
        Ok(routes)
    }

    /// Adds an address; one that is there already is well.
    pub(crate) async fn add_address(&self, index: u32, address: Address) -> io::Result<()> {
        let request = self.handle.address().add(index, address.ip, address.prefix);
        exists_is_well(request.execute().await)
    }

    /// Removes an address; one that is gone already is well.
    pub(crate) async fn remove_address(&self, index: u32, address: Address) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = address.prefix;
        message.header.family = family(address.ip);
        message.attributes.push(AddressAttribute::Local(address.ip));
        gone_is_well(self.handle.address().del(message).execute().await)
    }

    /// Adds a route; one that is there already is well.
    pub(crate) async fn add_route(&self, index: u32, route: &Route) -> io::Result<()> {
        exists_is_well(
            self.handle
                .route()
                .add(route_message(index, route))
                .execute()
                .await,
        )
    }

    /// Removes a route; one that is gone already is well.
    pub(crate) async fn remove_route(&self, index: u32, route: &Route) -> io::Result<()> {
        gone_is_well(
            self.handle
                .route()
                .del(route_message(index, route))
                .execute()
                .await,
        )
    }
}

fn read_address(message: &AddressMessage) -> Option<(u32, Assigned)> {
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut peer, mut local) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let assigned = Assigned {
        address: Address {
            ip: local.or(peer)?,
            prefix: message.header.prefix_len,
        },
        global: matches!(
            message.header.scope,
            AddressScope::Universe | AddressScope::Site
        ),
        permanent: flags.contains(AddressFlags::Permanent),
        tentative: flags.contains(AddressFlags::Tentative),
        duplicate: flags.contains(AddressFlags::Dadfailed),
    };
    Some((message.header.index, assigned))
}

fn read_route(message: &RouteMessage) -> Option<(u32, Route)> {
    let header = &message.header;
    let origin = match header.protocol {
        RouteProtocol::Static => Origin::Static,
        RouteProtocol::Dhcp => Origin::Dhcp,
        _ => return None,
    };
    let unspecified = match header.address_family {
        AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut route = Route {
        to: Address {
            ip: unspecified,
            prefix: header.destination_prefix_length,
        },
        via: None,
        metric: 0,
        origin,
        on_link: header.flags.contains(RouteFlags::Onlink),
    };
    let mut index = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => route.to.ip = ip(address)?,
            RouteAttribute::Gateway(address) => route.via = Some(ip(address)?),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Oif(oif) => index = Some(*oif),
            _ => {}
        }
    }
    (header.table == RouteHeader::RT_TABLE_MAIN).then_some((index?, route))
}

fn route_message(index: u32, route: &Route) -> RouteMessage {
    let protocol = match route.origin {
        Origin::Static => RouteProtocol::Static,
        Origin::Dhcp => RouteProtocol::Dhcp,
    };
    let scope = if route.via.is_none() && route.to.ip.is_ipv4() {
        RouteScope::Link
    } else {
        RouteScope::Universe
    };
    let mut message = match (route.to.ip, route.via) {
        (IpAddr::V4(to), Some(IpAddr::V4(via))) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, route.to.prefix)
            .gateway(via)
            .build(),
        (IpAddr::V4(to), Some(IpAddr::V6(via))) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, route.to.prefix)
            .via(via)
            .build(),
        (IpAddr::V4(to), None) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, route.to.prefix)
            .build(),
        (IpAddr::V6(to), Some(IpAddr::V6(via))) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(to, route.to.prefix)
            .gateway(via)
            .build(),
        (IpAddr::V6(to), _) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(to, route.to.prefix)
            .build(),
    };
    message.header.protocol = protocol;
    message.header.scope = scope;
    if route.on_link {
        message.header.flags |= RouteFlags::Onlink;
    }
    message.attributes.push(RouteAttribute::Oif(index));
    if route.metric > 0 {
        message
            .attributes
            .push(RouteAttribute::Priority(route.metric));
    }
    message
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

fn other(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        error => io::Error::other(error.to_string()),
    }
}

fn exists_is_well(result: Result<(), rtnetlink::Error>) -> io::Result<()> {
    result.map_err(other).or_else(|error| {
        if error.raw_os_error() == Some(libc::EEXIST) {
            Ok(())
        } else {
            Err(error)
        }
    })
}

fn gone_is_well(result: Result<(), rtnetlink::Error>) -> io::Result<()> {
    const GONE: [i32; 3] = [libc::ESRCH, libc::EADDRNOTAVAIL, libc::ENODEV];
    result
        .map_err(other)
        .or_else(|error| match error.raw_os_error() {
            Some(number) if GONE.contains(&number) => Ok(()),
            _ => Err(error),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{Emitable, Parseable};

    /// RTM_NEWROUTE as `ip route add default via 10.77.0.1 dev 2 metric 100 proto dhcp` is answered by Linux 6.12.
    const DEFAULT_ROUTE: &[u8] = &[
        2, 0, 0, 0, 254, 16, 0, 1, 0, 0, 0,
        0, // family, lengths, table, protocol, scope, kind, flags
        8, 0, 15, 0, 254, 0, 0, 0, // RTA_TABLE
        8, 0, 6, 0, 100, 0, 0, 0, // RTA_PRIORITY
        8, 0, 5, 0, 10, 77, 0, 1, // RTA_GATEWAY
        8, 0, 4, 0, 2, 0, 0, 0, // RTA_OIF
    ];
    /// RTM_NEWADDR of fd00::5/64 on link 2 while duplicate address detection runs.
    const TENTATIVE: &[u8] = &[
        10, 64, 192, 0, 2, 0, 0,
        0, // family, prefix, flags (permanent, tentative), scope, index
        20, 0, 1, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, // IFA_ADDRESS
        8, 0, 8, 0, 192, 0, 0, 0, // IFA_FLAGS
    ];

    #[test]
    fn a_captured_route_is_read_and_written_again() {
        let message = RouteMessage::parse(DEFAULT_ROUTE).unwrap();
        let (index, route) = read_route(&message).unwrap();
        assert_eq!(index, 2);
        assert_eq!(route.to, "0.0.0.0/0".parse().unwrap());
        assert_eq!(
            (route.via, route.metric),
            (Some("10.77.0.1".parse().unwrap()), 100)
        );
        assert_eq!(route.origin, Origin::Dhcp);
        let again = route_message(index, &route);
        let mut bytes = vec![0; again.buffer_len()];
        again.emit(&mut bytes);
        assert_eq!(
            read_route(&RouteMessage::parse(&bytes).unwrap()),
            Some((2, route))
        );
    }

    #[test]
    fn routes_of_others_are_not_ours() {
        let mut kernel = DEFAULT_ROUTE.to_vec();
        kernel[5] = 2;
        assert_eq!(read_route(&RouteMessage::parse(&kernel).unwrap()), None);
        let mut local_table = DEFAULT_ROUTE.to_vec();
        local_table[4] = 255;
        assert_eq!(
            read_route(&RouteMessage::parse(&local_table).unwrap()),
            None
        );
    }

    #[test]
    fn a_captured_address_tells_that_it_is_not_usable_yet() {
        let (index, assigned) = read_address(&AddressMessage::parse(TENTATIVE).unwrap()).unwrap();
        assert_eq!(index, 2);
        assert_eq!(assigned.address, "fd00::5/64".parse().unwrap());
        assert!(assigned.tentative && assigned.permanent && assigned.global && !assigned.duplicate);
    }
}
