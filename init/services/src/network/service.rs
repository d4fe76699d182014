//! The loop: a change of a link, an address or a lease leads to one look at everything.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use spec_config::Network;
use spec_layout::path::{NETWORK_CONFIG, NETWORK_RUN, RESOLV_CONF};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::network::dhcp::Lease;
use crate::network::dhcp::task::{self, Event, Port};
use crate::network::netlink::Netlink;
use crate::network::state::{Assigned, Change, Desired, Layer, Link, Route, changes, lacking};
use crate::network::{config, link, resolv};

/// How long READY waits for what lacks.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long it waits where there is no config and no device to configure.
const PATIENCE_WITHOUT_DEVICES: Duration = Duration::from_secs(5);
/// Changes come in bursts; one look is enough for those within this.
const SETTLE: Duration = Duration::from_millis(20);
/// A look without a change, for routes that others removed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Configures the network until SIGTERM.
pub(crate) async fn run() -> io::Result<()> {
    let (network, why) = config::read(Path::new(NETWORK_CONFIG));
    if let Some(why) = why {
        log::warn!("{why}");
    }
    std::fs::create_dir_all(NETWORK_RUN)?;
    let (netlink, mut changed) = Netlink::connect()?;
    let (sender, mut leases) = mpsc::channel(16);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut service = Service::new(network, netlink, sender);
    let mut next_look = Instant::now();
    loop {
        tokio::select! {
            _ = terminate.recv() => {
                crate::notify::stopping();
                return Ok(());
            }
            event = leases.recv() => {
                if let Some(event) = event {
                    service.on_lease(event);
                }
                next_look = Instant::now();
            }
            change = changed.next() => {
                if change.is_none() {
                    return Err(io::Error::other("the netlink connection ended"));
                }
                // The queue of changes is not bounded: empty it at once.
                while changed.next().now_or_never().flatten().is_some() {}
                next_look = next_look.min(Instant::now() + SETTLE);
            }
            _ = sleep_until(next_look) => {
                let again = service.look().await;
                next_look = Instant::now() + again;
                crate::notify::watchdog();
            }
        }
    }
}

struct Client {
    name: String,
    mac: [u8; 6],
    task: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Service {
    network: Network,
    netlink: Netlink,
    events: mpsc::Sender<Event>,
    leases: BTreeMap<u32, Lease>,
    clients: BTreeMap<u32, Client>,
    names: BTreeMap<u32, String>,
    began: Instant,
    devices: usize,
    ready: bool,
    status: String,
}

impl Service {
    fn new(network: Network, netlink: Netlink, events: mpsc::Sender<Event>) -> Self {
        Self {
            network,
            netlink,
            events,
            leases: BTreeMap::new(),
            clients: BTreeMap::new(),
            names: BTreeMap::new(),
            began: Instant::now(),
            devices: 0,
            ready: false,
            status: String::new(),
        }
    }

    fn on_lease(&mut self, event: Event) {
        let folder = Path::new(NETWORK_RUN);
        match event {
            Event::Bound(index, lease) => {
                let name = self.names.get(&index).cloned().unwrap_or_default();
                if self
                    .leases
                    .get(&index)
                    .is_none_or(|old| old.address != lease.address)
                {
                    log::info!(
                        "{name}: {}/{} from DHCP server {}",
                        lease.address,
                        lease.prefix,
                        lease.server
                    );
                }
                if let Err(error) = lease.save(folder, &name) {
                    log::warn!("{name}: the lease cannot be kept in {NETWORK_RUN}: {error}");
                }
                self.leases.insert(index, lease);
            }
            Event::Lost(index, why) => {
                let name = self.names.get(&index).cloned().unwrap_or_default();
                log::warn!("{name}: {why}");
                Lease::remove(folder, &name);
                self.leases.remove(&index);
            }
        }
    }

    /// Compares and corrects everything; says when to look again at the latest.
    async fn look(&mut self) -> Duration {
        match self.try_look().await {
            Ok(missing) => self.tell(missing),
            Err(error) => {
                log::warn!("the kernel's links cannot be read: {error}");
                Duration::from_secs(1)
            }
        }
    }

    async fn try_look(&mut self) -> io::Result<Vec<String>> {
        let mut links = self.netlink.links().await?;
        links.iter_mut().for_each(find_device);
        self.names = links
            .iter()
            .map(|link| (link.index, link.name.clone()))
            .collect();
        self.clients
            .retain(|index, client| self.names.get(index) == Some(&client.name));
        self.leases
            .retain(|index, _| self.names.contains_key(index));

        let addresses = self.netlink.addresses().await?;
        let routes = self.netlink.routes().await?;
        let mut failed = BTreeMap::new();
        for link in &links {
            let Some(mut desired) =
                link::desired(&self.network, link, self.leases.get(&link.index))
            else {
                self.clients.remove(&link.index);
                continue;
            };
            if desired.dhcp4 && self.take_lease_from_before(link) {
                desired = link::desired(&self.network, link, self.leases.get(&link.index))
                    .unwrap_or(desired);
            }
            let steps = changes(link, &of(link, &addresses), &of(link, &routes), &desired);
            if let Some(error) = self.apply(link, steps).await {
                failed.insert(link.index, error);
            }
            self.run_client(link, &desired);
        }
        self.write_resolv_conf();
        let addresses = self.netlink.addresses().await?;
        Ok(self.missing(&links, &addresses, &failed))
    }

    /// Whether a lease of the run before this one is in use from now on; its client has it confirmed.
    fn take_lease_from_before(&mut self, link: &Link) -> bool {
        if self.clients.contains_key(&link.index) || self.leases.contains_key(&link.index) {
            return false;
        }
        let lease = Lease::load(Path::new(NETWORK_RUN), &link.name, task::boottime());
        lease.is_some_and(|lease| self.leases.insert(link.index, lease).is_none())
    }

    /// Does the steps; the first error is returned, the later steps are tried all the same.
    async fn apply(&self, link: &Link, steps: Vec<Change>) -> Option<String> {
        let mut first = None;
        for step in steps {
            let (index, netlink) = (link.index, &self.netlink);
            let result = match &step {
                Change::Up => netlink.set_up(index).await,
                Change::Mtu(mtu) => netlink.set_mtu(index, *mtu).await,
                Change::AddAddress(address) => netlink.add_address(index, *address).await,
                Change::RemoveAddress(address) => netlink.remove_address(index, *address).await,
                Change::AddRoute(route) => netlink.add_route(index, route).await,
                Change::RemoveRoute(route) => netlink.remove_route(index, route).await,
            };
            match result {
                Ok(()) => log::info!("{}: {}", link.name, describe(&step)),
                Err(error) => {
                    let text = format!("{}: {}: {error}", link.name, describe(&step));
                    log::warn!("{text}");
                    first.get_or_insert(text);
                }
            }
        }
        first
    }

    /// Starts or ends the DHCP client of a link. A carrier that comes back makes it confirm its lease.
    fn run_client(&mut self, link: &Link, desired: &Desired) {
        let mac = link.mac.filter(|_| desired.dhcp4 && link.carrier);
        let Some(mac) = mac else {
            self.clients.remove(&link.index);
            return;
        };
        if self
            .clients
            .get(&link.index)
            .is_some_and(|client| client.mac == mac)
        {
            return;
        }
        let port = Port {
            index: link.index,
            name: link.name.clone(),
            mac,
            hostname: hostname(),
            lease: self.leases.get(&link.index).cloned(),
        };
        let task = tokio::spawn(task::run(port, self.events.clone()));
        self.clients.insert(
            link.index,
            Client {
                name: link.name.clone(),
                mac,
                task,
            },
        );
    }

    fn write_resolv_conf(&self) {
        let text = resolv::text(&self.network, self.leases.values());
        if let Err(error) = resolv::write(Path::new(RESOLV_CONF), &text) {
            log::warn!("{RESOLV_CONF}: {error}");
        }
    }

    /// What lacks until the network is as it shall be.
    fn missing(
        &mut self,
        links: &[Link],
        addresses: &[(u32, Assigned)],
        failed: &BTreeMap<u32, String>,
    ) -> Vec<String> {
        let mut missing: Vec<String> = Vec::new();
        for entry in &self.network.links {
            if !links.iter().any(|link| link::is_for(entry, link)) {
                missing.push(format!(
                    "no link is here for the entry with match {}",
                    describe_match(entry)
                ));
            }
        }
        let (mut configured, mut devices) = (0, 0);
        for link in links.iter().filter(|link| link.layer != Layer::Loopback) {
            let lease = self.leases.get(&link.index);
            let Some(desired) = link::desired(&self.network, link, lease) else {
                continue;
            };
            devices += 1;
            let lack = lacking(link, &of(link, addresses), &desired, lease.is_some());
            match failed.get(&link.index).cloned().or(lack) {
                Some(lack) => missing.push(lack),
                None => configured += 1,
            }
        }
        // Without a config, nobody says how many of the links are plugged in: one is enough.
        if self.network.links.is_empty() {
            if configured > 0 {
                missing.clear();
            } else if devices == 0 {
                missing.push("no link has a device".into());
            }
        }
        self.devices = devices;
        missing
    }

    /// Tells PID 1, and says when to look again.
    fn tell(&mut self, missing: Vec<String>) -> Duration {
        let status = if missing.is_empty() {
            "configured".to_string()
        } else {
            missing.join("; ")
        };
        let patience = if self.devices > 0 || !self.network.links.is_empty() {
            PATIENCE
        } else {
            PATIENCE_WITHOUT_DEVICES
        };
        let left = patience.saturating_sub(self.began.elapsed());
        if !self.ready && (missing.is_empty() || left.is_zero()) {
            self.ready = true;
            if missing.is_empty() {
                log::info!("configured");
            } else {
                log::warn!("going on without: {status}");
            }
            crate::notify::ready(&status);
        } else if status != self.status {
            crate::notify::status(&status);
        }
        self.status = status;
        if self.ready {
            LOOK_EVERY
        } else {
            left.clamp(Duration::from_millis(100), Duration::from_secs(1))
        }
    }
}

/// What belongs to this link.
fn of<T: Clone>(link: &Link, all: &[(u32, T)]) -> Vec<T> {
    all.iter()
        .filter(|(index, _)| *index == link.index)
        .map(|(_, item)| item.clone())
        .collect()
}

/// What sysfs knows of the device behind a link.
fn find_device(link: &mut Link) {
    let device = format!("/sys/class/net/{}/device", link.name);
    link.physical = Path::new(&device).exists();
    let driver = std::fs::read_link(format!("{device}/driver")).ok();
    link.driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()?
        .trim()
        .to_string();
    (!matches!(name.as_str(), "" | "(none)" | "localhost")).then_some(name)
}

fn describe(change: &Change) -> String {
    match change {
        Change::Up => "up".into(),
        Change::Mtu(mtu) => format!("MTU {mtu}"),
        Change::AddAddress(address) => format!("address {address} added"),
        Change::RemoveAddress(address) => format!("address {address} removed"),
        Change::AddRoute(route) => format!("route {} added", describe_route(route)),
        Change::RemoveRoute(route) => format!("route {} removed", describe_route(route)),
    }
}

fn describe_route(route: &Route) -> String {
    match route.via {
        Some(via) => format!("{} via {via}", route.to),
        None => route.to.to_string(),
    }
}

fn describe_match(entry: &spec_config::Link) -> String {
    let wanted = &entry.matches;
    let mac = wanted.mac.map(|mac| format!("mac {mac}"));
    let name = wanted.name.as_ref().map(|name| format!("name {name}"));
    let driver = wanted
        .driver
        .as_ref()
        .map(|driver| format!("driver {driver}"));
    [mac, name, driver]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}
