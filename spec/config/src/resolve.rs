//! From the document to the config: what only holds, or fails, between several values.

use std::net::IpAddr;

use toml::Spanned;

use crate::error::{Error, Problem};
use crate::network::{Destination, Link, Network, Route};
use crate::value::{Address, Hostname, Pem, Role};
use crate::{
    Cluster, Config, Issuer, Issuers, MAX_MASTERS, MIN_JOIN_TOKEN, Master, Node, Trust, document,
};

/// Most entries of any list in the document.
const MAX_LIST: usize = 64;
/// Smallest MTU of IPv4 (RFC 791) and of IPv6 (RFC 8200).
const MIN_MTU: u32 = 68;
const MIN_MTU_IPV6: u32 = 1280;

/// Collects problems with their places.
struct Check<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn refuse<T>(&mut self, place: &Spanned<T>, message: impl Into<String>) {
        self.problems
            .push(Problem::at(self.text, place.span().start, message));
    }

    /// A problem of a whole table: the place of its header, or the start.
    fn refuse_table(&mut self, header: &str, message: impl Into<String>) {
        let offset = self.text.find(header).unwrap_or(0);
        self.problems.push(Problem::at(self.text, offset, message));
    }

    /// Refuses a value that stands in the list before.
    fn unique<T: PartialEq + std::fmt::Display>(&mut self, values: &[&Spanned<T>], what: &str) {
        for (index, value) in values.iter().enumerate() {
            if values
                .iter()
                .take(index)
                .any(|earlier| earlier.get_ref() == value.get_ref())
            {
                self.refuse(value, format!("{what} {} stands twice", value.get_ref()));
            }
        }
    }
}

/// Checks the document as a whole.
pub(crate) fn resolve(document: document::Document, text: &str) -> Result<Config, Error> {
    let mut check = Check {
        text,
        problems: Vec::new(),
    };
    check_masters(&mut check, &document);
    check_roles(&mut check, &document);
    check_trust(&mut check, &document);
    for link in &document.network.links {
        check_link(&mut check, link);
    }
    check_addresses(&mut check, &document);
    if !check.problems.is_empty() {
        check
            .problems
            .sort_by_key(|problem| (problem.line, problem.column));
        return Err(Error {
            problems: check.problems,
        });
    }
    Ok(accept(document))
}

fn check_masters(check: &mut Check<'_>, document: &document::Document) {
    let masters = document.cluster.masters.get_ref();
    if masters.is_empty() || masters.len() > MAX_MASTERS {
        let message = format!(
            "{} masters; a cluster has 1 to {MAX_MASTERS}",
            masters.len()
        );
        check.refuse(&document.cluster.masters, message);
    }
    check.unique(
        &masters.iter().map(|m| &m.name).collect::<Vec<_>>(),
        "master name",
    );
    check.unique(
        &masters.iter().map(|m| &m.address).collect::<Vec<_>>(),
        "master address",
    );
    for master in masters {
        let address = master.address.get_ref();
        if address.is_unspecified() || address.is_multicast() {
            check.refuse(
                &master.address,
                format!("{address} is not the address of one machine"),
            );
        }
    }
    match &document.cluster.join_token {
        Some(token) if token.expose().len() < MIN_JOIN_TOKEN => {
            let message =
                format!("`cluster.join_token` is shorter than {MIN_JOIN_TOKEN} characters");
            check.refuse_table("[cluster]", message);
        }
        Some(_) => {}
        None => check.refuse_table(
            "[cluster]",
            "`cluster.join_token` is missing; nodes join with it",
        ),
    }
}

fn check_roles(check: &mut Check<'_>, document: &document::Document) {
    let node = &document.node;
    check.unique(&node.roles.iter().collect::<Vec<_>>(), "role");
    let has = |role: Role| node.roles.iter().find(|given| *given.get_ref() == role);
    if let (Some(_), Some(second)) = (has(Role::Agent), has(Role::PublicAgent)) {
        check.refuse(
            second,
            "`agent` and `public-agent` exclude each other; keep one",
        );
    }
    let hostname = node.hostname.get_ref();
    let listed = document
        .cluster
        .masters
        .get_ref()
        .iter()
        .any(|master| master.name.get_ref() == hostname);
    match (has(Role::Master), listed) {
        (Some(role), false) => {
            check.refuse(
                role,
                format!("role `master`, but `cluster.masters` has no {hostname}; add it there"),
            );
        }
        (None, true) => {
            check.refuse(
                &node.hostname,
                format!("{hostname} is in `cluster.masters`; give it the role `master`"),
            );
        }
        _ => {}
    }
}

fn check_trust(check: &mut Check<'_>, document: &document::Document) {
    let trust = &document.trust;
    let stores = [
        ("node_api", &trust.node_api),
        ("etcd_peer", &trust.etcd_peer),
        ("etcd_client", &trust.etcd_client),
        ("cluster", &trust.cluster),
    ];
    for (index, (name, store)) in stores.iter().enumerate() {
        let roots = store.roots.get_ref();
        if roots.is_empty() || roots.len() > MAX_LIST {
            check.refuse(
                &store.roots,
                format!(
                    "`trust.{name}.roots` has {} entries; 1 to {MAX_LIST}",
                    roots.len()
                ),
            );
        }
        for (earlier, other) in stores.iter().take(index) {
            if roots
                .iter()
                .any(|root| other.roots.get_ref().contains(root))
            {
                check.refuse(
                    &store.roots,
                    format!("`trust.{name}` and `trust.{earlier}` share a root; keep them apart"),
                );
            }
        }
    }
    let master = document
        .node
        .roles
        .iter()
        .any(|role| *role.get_ref() == Role::Master);
    match &trust.issuers {
        None if master => check.refuse_table(
            "[trust",
            "role `master` needs `[trust.issuers]`, its intermediates",
        ),
        Some(issuers) if !master => {
            check.refuse(
                issuers,
                "only masters hold issuers; remove `[trust.issuers]` from this node's config",
            );
        }
        Some(issuers) => {
            let all = issuers.get_ref();
            for (name, issuer) in [
                ("node_api", &all.node_api),
                ("etcd_peer", &all.etcd_peer),
                ("etcd_client", &all.etcd_client),
                ("cluster", &all.cluster),
            ] {
                if !issuer
                    .key
                    .as_ref()
                    .is_some_and(|key| key.expose().contains("-----BEGIN PRIVATE KEY-----"))
                {
                    check.refuse(
                        issuers,
                        format!("`trust.issuers.{name}.key` is not a PKCS#8 key in PEM"),
                    );
                }
            }
        }
        None => {}
    }
}

fn check_link(check: &mut Check<'_>, link: &document::Link) {
    let matches = link.matches.get_ref();
    if matches.mac.is_none() && matches.name.is_none() && matches.driver.is_none() {
        check.refuse(
            &link.matches,
            "an empty `match`: give `mac`, `name` or `driver`",
        );
    }
    for (key, value, most) in [("name", &matches.name, 15), ("driver", &matches.driver, 63)] {
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'/')
        };
        if value
            .as_deref()
            .is_some_and(|text| text.is_empty() || text.len() > most || !plain(text))
        {
            check.refuse(
                &link.matches,
                format!("`match.{key}` has 1 to {most} printable characters, no space or slash"),
            );
        }
    }
    for address in &link.addresses {
        let ip = address.get_ref().ip;
        if ip.is_unspecified() || ip.is_multicast() {
            check.refuse(address, format!("{ip} cannot be a link's address"));
        }
    }
    if let Some(mtu) = &link.mtu {
        let ipv6 = link
            .addresses
            .iter()
            .any(|address| address.get_ref().ip.is_ipv6());
        let least = if ipv6 { MIN_MTU_IPV6 } else { MIN_MTU };
        if !(least..=65535).contains(mtu.get_ref()) {
            check.refuse(
                mtu,
                format!("mtu {} is outside {least} to 65535", mtu.get_ref()),
            );
        }
    }
    for route in &link.routes {
        check_route(check, route);
    }
}

fn check_route(check: &mut Check<'_>, place: &Spanned<Route>) {
    let route = place.get_ref();
    match (route.to, route.via) {
        (Destination::Default, None) => check.refuse(place, "a default route needs `via`"),
        (Destination::Network(network), Some(via)) if network.ip.is_ipv4() != via.is_ipv4() => {
            check.refuse(
                place,
                format!("{network} and {via} are of different address families"),
            );
        }
        (_, Some(via)) if via.is_unspecified() || via.is_multicast() => {
            check.refuse(place, format!("{via} cannot be a next hop"));
        }
        _ => {}
    }
}

fn check_addresses(check: &mut Check<'_>, document: &document::Document) {
    let network = &document.network;
    if network.links.len() > MAX_LIST || network.nameservers.len() > MAX_LIST {
        check.refuse_table(
            "[network]",
            format!("at most {MAX_LIST} links and name servers are read"),
        );
        return;
    }
    let addresses: Vec<&Spanned<Address>> = network
        .links
        .iter()
        .flat_map(|link| &link.addresses)
        .collect();
    if addresses.len() > MAX_LIST * MAX_LIST {
        check.refuse_table("[network]", "too many addresses");
        return;
    }
    for (index, address) in addresses.iter().enumerate() {
        if addresses
            .iter()
            .take(index)
            .any(|earlier| earlier.get_ref().ip == address.get_ref().ip)
        {
            check.refuse(
                address,
                format!("address {} stands twice", address.get_ref().ip),
            );
        }
    }
    check_own_address(check, document, &addresses);
}

/// A node that only has static addresses has the one that the masters list gives it, and no other master's.
fn check_own_address(
    check: &mut Check<'_>,
    document: &document::Document,
    addresses: &[&Spanned<Address>],
) {
    let links = &document.network.links;
    let static_only = !links.is_empty() && links.iter().all(|link| !link.dhcp4);
    let hostname = &document.node.hostname;
    for master in document.cluster.masters.get_ref() {
        let ip: IpAddr = *master.address.get_ref();
        let own = master.name.get_ref() == hostname.get_ref();
        let held = addresses.iter().find(|address| address.get_ref().ip == ip);
        match held {
            None if own && static_only => {
                check.refuse(
                    &master.address,
                    format!("no link of this node has its master address {ip}"),
                );
            }
            Some(address) if !own => {
                let message = format!(
                    "{ip} is the address of master {}, not of {}",
                    master.name.get_ref(),
                    hostname.get_ref()
                );
                check.refuse(address, message);
            }
            _ => {}
        }
    }
}

fn accept(document: document::Document) -> Config {
    let document::Document {
        schema: _,
        cluster,
        node,
        network,
        trust,
    } = document;
    let master = |master: document::Master| Master {
        name: master.name.into_inner(),
        address: master.address.into_inner(),
    };
    Config {
        cluster: Cluster {
            id: cluster.id,
            name: cluster.name,
            masters: cluster
                .masters
                .into_inner()
                .into_iter()
                .map(master)
                .collect(),
            join_token: cluster.join_token,
        },
        node: Node {
            hostname: Hostname::clone(node.hostname.get_ref()),
            roles: node.roles.into_iter().map(Spanned::into_inner).collect(),
        },
        network: Network {
            nameservers: network.nameservers,
            links: network.links.into_iter().map(accept_link).collect(),
        },
        trust: accept_trust(trust),
    }
}

fn accept_link(link: document::Link) -> Link {
    Link {
        matches: link.matches.into_inner(),
        addresses: link
            .addresses
            .into_iter()
            .map(Spanned::into_inner)
            .collect(),
        dhcp4: link.dhcp4,
        mtu: link.mtu.map(Spanned::into_inner),
        routes: link.routes.into_iter().map(Spanned::into_inner).collect(),
    }
}

fn accept_trust(trust: document::Trust) -> Trust {
    let roots = |store: document::Store| -> Vec<Pem> { store.roots.into_inner() };
    Trust {
        node_api: roots(trust.node_api),
        etcd_peer: roots(trust.etcd_peer),
        etcd_client: roots(trust.etcd_client),
        cluster: roots(trust.cluster),
        issuers: trust
            .issuers
            .and_then(|issuers| accept_issuers(issuers.into_inner())),
    }
}

/// `None` only where a key is missing, which [`check_trust`] has refused before.
fn accept_issuers(issuers: document::Issuers) -> Option<Issuers> {
    let issuer = |issuer: document::Issuer| {
        Some(Issuer {
            certificate: issuer.certificate,
            key: issuer.key?,
        })
    };
    Some(Issuers {
        node_api: issuer(issuers.node_api)?,
        etcd_peer: issuer(issuers.etcd_peer)?,
        etcd_client: issuer(issuers.etcd_client)?,
        cluster: issuer(issuers.cluster)?,
    })
}
