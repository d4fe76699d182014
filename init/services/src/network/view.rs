//! [`NetworkView`]: what the service knows, for the node API and for people, in a file of mode 0644.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use spec_api::{AddressView, LeaseView, LinkView, NetworkView, RouteView};
use spec_config::Mac;

use crate::network::dhcp::Lease;
use crate::network::plan::Kernel;
use crate::network::state::{Desired, Link, Origin};
use crate::network::structure;

/// Most entries of each list; addresses and routes are of each link.
const LINKS_MAX: usize = 512;
const ADDRESSES_MAX: usize = 64;
const ROUTES_MAX: usize = 128;
const MISSING_MAX: usize = 128;

/// The view of what is.
pub(crate) fn view(
    kernel: &Kernel,
    desired: &BTreeMap<u32, Desired>,
    leases: &BTreeMap<u32, Lease>,
    missing: &[String],
) -> NetworkView {
    let mut view = NetworkView {
        configured: missing.is_empty(),
        missing: missing.to_vec(),
        ..NetworkView::default()
    };
    view.truncated |= cut(&mut view.missing, MISSING_MAX);
    let mut links: Vec<&Link> = kernel.links.iter().collect();
    links.sort_by_key(|link| link.index);
    view.truncated |= cut(&mut links, LINKS_MAX);
    for link in links {
        let mut told = link_view(kernel, link);
        told.managed = desired.contains_key(&link.index);
        told.lease = leases.get(&link.index).map(lease_view);
        view.truncated |= cut(&mut told.addresses, ADDRESSES_MAX);
        view.truncated |= cut(&mut told.routes, ROUTES_MAX);
        view.truncated |= cut(&mut told.members, LINKS_MAX);
        view.links.push(told);
    }
    view
}

/// Whether something had to go.
fn cut<T>(list: &mut Vec<T>, most: usize) -> bool {
    let long = list.len() > most;
    list.truncate(most);
    long
}

fn link_view(kernel: &Kernel, link: &Link) -> LinkView {
    let name_of = |index: u32| kernel.link(index).map(|link| link.name.clone());
    let members = kernel
        .links
        .iter()
        .filter(|member| member.master == Some(link.index));
    let addresses = kernel.addresses_of(link.index);
    let routes = kernel.routes_of(link.index);
    LinkView {
        index: link.index,
        name: link.name.clone(),
        kind: Some(link.kind.clone()).filter(|kind| !kind.is_empty()),
        made: structure::made_as(link).is_some(),
        mac: link.mac.map(|mac| Mac(mac).to_string()),
        driver: link.driver.clone(),
        path: link.path.clone(),
        mtu: link.mtu,
        up: link.up,
        carrier: link.carrier,
        master: link.master.and_then(name_of),
        members: members.map(|member| member.name.clone()).collect(),
        parent: link.parent.and_then(name_of),
        addresses: addresses
            .into_iter()
            .map(|have| AddressView {
                address: have.address.to_string(),
                global: have.global,
                permanent: have.permanent,
                tentative: have.tentative,
                duplicate: have.duplicate,
            })
            .collect(),
        routes: routes
            .into_iter()
            .map(|route| RouteView {
                to: route.to.to_string(),
                via: route.via.map(|via| via.to_string()),
                metric: route.metric,
                origin: match route.origin {
                    Origin::Static => "static".into(),
                    Origin::Dhcp => "dhcp".into(),
                },
            })
            .collect(),
        ..LinkView::default()
    }
}

fn lease_view(lease: &Lease) -> LeaseView {
    let ends = Some(lease.expires_at).filter(|end| *end != Duration::MAX);
    LeaseView {
        address: format!("{}/{}", lease.address, lease.prefix),
        server: lease.server.to_string(),
        renew_at_seconds: lease.renew_at.as_secs(),
        expires_at_seconds: ends.map(|end| end.as_secs()),
    }
}

/// Writes the file, whole or not at all.
pub(crate) fn write(path: &Path, view: &NetworkView) -> io::Result<()> {
    let draft = path.with_extension("json.new");
    std::fs::write(&draft, serde_json::to_vec(view)?)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o644))?;
    std::fs::rename(draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::dhcp::lease::tests::hour;
    use crate::network::state::{Assigned, EVERYWHERE, Route};

    fn kernel() -> Kernel {
        let bond = Link {
            index: 4,
            name: "bond0".into(),
            kind: "bond".into(),
            alias: Some(structure::note("bond0")),
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
            carrier: true,
            ..Link::default()
        };
        let card = Link {
            index: 2,
            name: "enp0s2".into(),
            master: Some(4),
            ..Link::default()
        };
        let address = Assigned {
            address: "10.0.2.15/24".parse().unwrap(),
            global: true,
            permanent: true,
            tentative: false,
            duplicate: false,
        };
        let route = Route {
            to: EVERYWHERE,
            via: Some("10.0.2.2".parse().unwrap()),
            metric: 1024,
            origin: Origin::Dhcp,
            on_link: false,
        };
        Kernel {
            links: vec![bond, card],
            addresses: vec![(4, address)],
            routes: vec![(4, route)],
        }
    }

    #[test]
    fn links_are_told_with_their_names_and_not_their_numbers() {
        let desired = BTreeMap::from([(4, Desired::default())]);
        let leases = BTreeMap::from([(4, hour())]);
        let view = view(&kernel(), &desired, &leases, &["a line".into()]);
        assert!(!view.configured && !view.truncated);
        let [card, bond] = view.links.as_slice() else {
            panic!("{view:?}");
        };
        assert_eq!(
            (card.master.as_deref(), card.managed),
            (Some("bond0"), false)
        );
        assert_eq!(
            (bond.members.as_slice(), bond.made),
            (&["enp0s2".to_owned()][..], true)
        );
        assert_eq!(
            (card.kind.as_deref(), bond.kind.as_deref()),
            (None, Some("bond"))
        );
        assert_eq!(bond.addresses[0].address, "10.0.2.15/24");
        assert_eq!(bond.routes[0].origin, "dhcp");
        assert_eq!(bond.lease.as_ref().unwrap().address, "10.0.2.15/24");
    }

    #[test]
    fn a_hostile_number_of_links_and_addresses_is_cut() {
        let mut kernel = kernel();
        let address = kernel.addresses[0].clone();
        kernel.addresses = vec![address; 1000];
        let many = (10..2000).map(|index| Link {
            index,
            ..Link::default()
        });
        kernel.links.extend(many);
        let view = view(&kernel, &BTreeMap::new(), &BTreeMap::new(), &[]);
        assert!(view.truncated && view.configured);
        assert_eq!((view.links.len(), view.links[1].addresses.len()), (512, 64));
    }

    #[test]
    fn everybody_may_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let view = view(&kernel(), &BTreeMap::new(), &BTreeMap::new(), &[]);
        write(&path, &view).unwrap();
        let read: NetworkView = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, view);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    }
}
