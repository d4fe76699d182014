//! What only holds, or fails, between several values of a document.

use std::fmt::Display;
use std::net::IpAddr;

use crate::error::{Error, Problem};
use crate::place::Places;
use crate::secret::{HIDDEN, Secret};
use crate::value::{Address, Role};
use crate::{Config, MAX_MASTERS, MIN_JOIN_TOKEN, network, time};

/// Most entries of any list in the document.
pub(crate) const MAX_LIST: usize = 64;

/// Most problems that are told of one document.
const MAX_PROBLEMS: usize = 100;

/// Collects problems with their places.
pub(crate) struct Check<'a> {
    text: &'a str,
    places: Places<'a>,
    problems: Vec<Problem>,
    keeps_hidden: bool,
}

impl Check<'_> {
    /// A problem of the value at the key path.
    pub(crate) fn refuse(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let path = path.into();
        let offset = self.places.offset(&path);
        let mut problem = Problem::at(self.text, offset, message);
        problem.field = Some(path);
        self.problems.push(problem);
    }

    /// Refuses each value that stands in the list before.
    pub(crate) fn unique<T: PartialEq + Display>(&mut self, values: &[(String, T)], what: &str) {
        for (index, (path, value)) in values.iter().enumerate() {
            if values
                .iter()
                .take(index)
                .any(|(_, earlier)| earlier == value)
            {
                self.refuse(path, format!("{what} {value} stands twice"));
            }
        }
    }

    /// Refuses a list that is longer than any should be.
    pub(crate) fn bounded<T>(&mut self, path: &str, list: &[T]) -> bool {
        let fits = list.len() <= MAX_LIST;
        if !fits {
            let message = format!("{} entries; at most {MAX_LIST} are read", list.len());
            self.refuse(path, message);
        }
        fits
    }

    /// Whether a secret is left out for now, which is no problem or one of its own.
    fn is_hidden(&mut self, path: &str, secret: &Secret) -> bool {
        let hidden = secret.expose() == HIDDEN;
        if hidden && !self.keeps_hidden {
            let message = format!(
                "`{path}` is hidden and there is no config in force with it; write the secret itself"
            );
            self.refuse(path, message);
        }
        hidden
    }
}

/// Checks the config as a whole; `text` is the document it was read from.
pub(crate) fn check(config: &Config, text: &str, keeps_hidden: bool) -> Result<(), Error> {
    let mut check = Check {
        text,
        places: Places::of(text),
        problems: Vec::new(),
        keeps_hidden,
    };
    check_cluster(&mut check, config);
    check_roles(&mut check, config);
    check_trust(&mut check, config);
    network::check(&mut check, &config.network);
    time::check(&mut check, &config.time);
    check_own_address(&mut check, config);
    if check.problems.is_empty() {
        return Ok(());
    }
    check
        .problems
        .sort_by_key(|problem| (problem.line, problem.column));
    Err(Error {
        problems: check.problems,
    })
}

fn check_cluster(check: &mut Check<'_>, config: &Config) {
    let masters = &config.cluster.masters;
    if masters.is_empty() || masters.len() > MAX_MASTERS {
        let message = format!(
            "{} masters; a cluster has 1 to {MAX_MASTERS}",
            masters.len()
        );
        check.refuse("cluster.masters", message);
        return;
    }
    let path = |index: usize, key: &str| format!("cluster.masters[{index}].{key}");
    let all = || masters.iter().enumerate();
    let names: Vec<_> = all()
        .map(|(index, master)| (path(index, "name"), &master.name))
        .collect();
    check.unique(&names, "master name");
    let addresses: Vec<_> = all()
        .map(|(index, master)| (path(index, "address"), master.address))
        .collect();
    check.unique(&addresses, "master address");
    for (path, address) in addresses {
        if address.is_unspecified() || address.is_multicast() {
            check.refuse(path, format!("{address} is not the address of one machine"));
        }
    }
    let token = &config.cluster.join_token;
    let path = "cluster.join_token";
    if !check.is_hidden(path, token) && token.expose().len() < MIN_JOIN_TOKEN {
        let message = format!("`{path}` is shorter than {MIN_JOIN_TOKEN} characters");
        check.refuse(path, message);
    }
}

fn check_roles(check: &mut Check<'_>, config: &Config) {
    let node = &config.node;
    if !check.bounded("node.roles", &node.roles) {
        return;
    }
    let roles: Vec<_> = node
        .roles
        .iter()
        .enumerate()
        .map(|(index, role)| (format!("node.roles[{index}]"), *role))
        .collect();
    check.unique(&roles, "role");
    let place = |role: Role| roles.iter().find(|(_, given)| *given == role);
    if let (Some(_), Some((path, _))) = (place(Role::Agent), place(Role::PublicAgent)) {
        check.refuse(
            path,
            "`agent` and `public-agent` exclude each other; keep one",
        );
    }
    let hostname = &node.hostname;
    match (place(Role::Master), config.own_master()) {
        (Some((path, _)), None) => check.refuse(
            path,
            format!("role `master`, but `cluster.masters` has no {hostname}; add it there"),
        ),
        (None, Some(_)) => check.refuse(
            "node.hostname",
            format!("{hostname} is in `cluster.masters`; give it the role `master`"),
        ),
        _ => {}
    }
}

fn check_trust(check: &mut Check<'_>, config: &Config) {
    let stores = config.trust.stores();
    for (index, (name, store)) in stores.iter().enumerate() {
        let path = format!("trust.{name}.roots");
        let roots = &store.roots;
        if roots.is_empty() || roots.len() > MAX_LIST {
            let message = format!("`{path}` has {} entries; 1 to {MAX_LIST}", roots.len());
            check.refuse(&path, message);
        }
        for (earlier, other) in stores.iter().take(index) {
            if roots.iter().any(|root| other.roots.contains(root)) {
                let message =
                    format!("`trust.{name}` and `trust.{earlier}` share a root; keep them apart");
                check.refuse(&path, message);
            }
        }
    }
    match (&config.trust.issuers, config.has_role(Role::Master)) {
        (None, true) => check.refuse(
            "trust.issuers",
            "role `master` needs `[trust.issuers]`, its intermediates",
        ),
        (Some(_), false) => check.refuse(
            "trust.issuers",
            "only masters hold issuers; remove `[trust.issuers]` from this node's config",
        ),
        (Some(issuers), true) => {
            for (name, issuer) in issuers.all() {
                let path = format!("trust.issuers.{name}.key");
                let is_key = issuer.key.expose().contains("-----BEGIN PRIVATE KEY-----");
                if !check.is_hidden(&path, &issuer.key) && !is_key {
                    let message = format!("`{path}` is not a PKCS#8 key in PEM");
                    check.refuse(&path, message);
                }
            }
        }
        (None, false) => {}
    }
}

/// A node that only has static addresses has the one that the masters list gives it, and no other master's.
fn check_own_address(check: &mut Check<'_>, config: &Config) {
    let links = &config.network.links;
    let static_only = !links.is_empty() && links.iter().all(|link| !link.dhcp4);
    let hostname = &config.node.hostname;
    let addresses: Vec<(String, Address)> = network::addresses(&config.network).collect();
    for (index, master) in config.cluster.masters.iter().enumerate() {
        let ip: IpAddr = master.address;
        let own = master.name == *hostname;
        let held = addresses.iter().find(|(_, address)| address.ip == ip);
        match held {
            None if own && static_only => check.refuse(
                format!("cluster.masters[{index}].address"),
                format!("no link of this node has its master address {ip}"),
            ),
            Some((path, _)) if !own => {
                let message = format!(
                    "{ip} is the address of master {}, not of {hostname}",
                    master.name
                );
                check.refuse(path, message);
            }
            _ => {}
        }
    }
}
