//! The loop: a change of a link, an address or a lease leads to one look at everything.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use spec_api::NetworkView;
use spec_config::Network;
use spec_layout::path::{NETWORK_CONFIG, NETWORK_RUN, NETWORK_VIEW, RESOLV_CONF, RESOLVER_CONFIG};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::network::apply::Apply;
use crate::network::dhcp::Lease;
use crate::network::dhcp::task::{self, Event, Port};
use crate::network::netlink::Netlink;
use crate::network::plan::{Kernel, plan};
use crate::network::rate::Pace;
use crate::network::state::{Desired, Layer, Link, lacking};
use crate::network::structure::structure;
use crate::network::{config, device, link, resolv, view};

/// How long READY waits for what lacks.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long it waits where there is no config and no device to configure.
const PATIENCE_WITHOUT_DEVICES: Duration = Duration::from_secs(5);
/// How long it waits after a reload: whoever has brought another config waits with it.
const PATIENCE_AFTER_RELOAD: Duration = Duration::from_secs(5);
/// Links that stand on each other are made in so many rounds of one look; the next look goes on.
const ROUNDS: usize = 8;
/// A look without a change, should one have been missed.
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
    let mut reload = signal(SignalKind::hangup())?;
    let mut service = Service::new(network, netlink, sender);
    let mut next_look = Instant::now();
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            _ = terminate.recv() => {
                crate::notify::stopping();
                return Ok(());
            }
            _ = reload.recv() => {
                service.reload(Path::new(NETWORK_CONFIG));
                next_look = Instant::now();
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
                next_look = next_look.min(Instant::now() + pace.settle(task::boottime()));
            }
            _ = sleep_until(next_look) => {
                pace.looked(task::boottime());
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
    apply: Apply,
    events: mpsc::Sender<Event>,
    leases: BTreeMap<u32, Lease>,
    clients: BTreeMap<u32, Client>,
    names: BTreeMap<u32, String>,
    began: Instant,
    devices: usize,
    ready: bool,
    status: String,
    /// READY is for a reload.
    reloaded: bool,
    /// Why the config of before is still in force.
    stale: Option<String>,
    view: Option<NetworkView>,
}

impl Service {
    fn new(network: Network, netlink: Netlink, events: mpsc::Sender<Event>) -> Self {
        Self {
            network,
            apply: Apply::new(netlink.clone()),
            netlink,
            events,
            leases: BTreeMap::new(),
            clients: BTreeMap::new(),
            names: BTreeMap::new(),
            began: Instant::now(),
            devices: 0,
            ready: false,
            status: String::new(),
            reloaded: false,
            stale: None,
            view: None,
        }
    }

    /// Takes the config as it is now. READY follows when it is reached, or after the patience with what lacks.
    fn reload(&mut self, path: &Path) {
        crate::notify::reloading();
        match config::read_again(path) {
            Ok(network) => {
                log::info!("the config is read anew");
                self.network = network;
                self.stale = None;
                self.apply.forget();
                self.began = Instant::now();
                self.ready = false;
                self.reloaded = true;
            }
            Err(why) => {
                log::error!("{why}");
                if self.ready {
                    crate::notify::ready(&why);
                }
                self.stale = Some(why);
            }
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
        let mut missing = Vec::new();
        let links = self.make_links(&mut missing).await?;
        self.names = links
            .iter()
            .map(|link| (link.index, link.name.clone()))
            .collect();
        self.clients
            .retain(|index, client| self.names.get(index) == Some(&client.name));
        self.leases
            .retain(|index, _| self.names.contains_key(index));
        let desired = self.desired(&links);

        let mut kernel = self.read(links).await?;
        let steps = plan(&kernel, &desired);
        let mut failed = BTreeMap::new();
        for (index, step) in &steps {
            let Some(link) = kernel.link(*index) else {
                continue;
            };
            let name_of = |index| self.names.get(&index).cloned().unwrap_or_default();
            // The later steps are tried all the same; the first that fails is told.
            if let Err(error) = self.apply.change(link, step, name_of).await {
                failed.entry(*index).or_insert(error);
            }
        }
        if !steps.is_empty() {
            kernel = self.read(self.links().await?).await?;
        }
        for link in &kernel.links {
            self.run_client(link, desired.get(&link.index));
        }
        self.write_name_servers();
        missing.extend(self.missing(&kernel, &desired, &failed));
        self.tell_view(&kernel, &desired, &missing);
        Ok(missing)
    }

    /// All links, with their devices.
    async fn links(&self) -> io::Result<Vec<Link>> {
        let mut links = self.netlink.links().await?;
        links.iter_mut().for_each(device::find);
        Ok(links)
    }

    async fn read(&self, links: Vec<Link>) -> io::Result<Kernel> {
        Ok(Kernel {
            links,
            addresses: self.netlink.addresses().await?,
            routes: self.netlink.routes().await?,
        })
    }

    /// Makes, renames and removes links until nothing is left to do or to be done now; gives those that are there.
    async fn make_links(&mut self, missing: &mut Vec<String>) -> io::Result<Vec<Link>> {
        let mut links = self.links().await?;
        let mut failed: BTreeMap<String, String> = BTreeMap::new();
        for round in 0..ROUNDS {
            let (mut steps, problems) = structure(&self.network, &links);
            steps.retain(|step| !failed.contains_key(step.name()));
            if steps.is_empty() || round + 1 == ROUNDS {
                missing.extend(problems);
                break;
            }
            for step in &steps {
                if let Err(error) = self.apply.structure(step).await {
                    failed.insert(step.name().to_owned(), error);
                }
            }
            links = self.links().await?;
        }
        missing.extend(failed.into_values());
        Ok(links)
    }

    /// What each link shall be, leases of the run before this one included.
    fn desired(&mut self, links: &[Link]) -> BTreeMap<u32, Desired> {
        let desired = link::desired(&self.network, links, &self.leases);
        let mut taken = false;
        for link in links {
            let dhcp4 = desired
                .get(&link.index)
                .is_some_and(|desired| desired.dhcp4);
            if dhcp4 {
                taken |= self.take_lease_from_before(link);
            } else if self.leases.remove(&link.index).is_some() {
                log::info!("{}: DHCP is not asked any more", link.name);
                Lease::remove(Path::new(NETWORK_RUN), &link.name);
            }
        }
        if taken {
            link::desired(&self.network, links, &self.leases)
        } else {
            desired
        }
    }

    /// Whether a lease of the run before this one is in use from now on; its client has it confirmed.
    fn take_lease_from_before(&mut self, link: &Link) -> bool {
        if self.clients.contains_key(&link.index) || self.leases.contains_key(&link.index) {
            return false;
        }
        let lease = Lease::load(Path::new(NETWORK_RUN), &link.name, task::boottime());
        lease.is_some_and(|lease| self.leases.insert(link.index, lease).is_none())
    }

    /// Starts or ends the DHCP client of a link. A carrier that comes back makes it confirm its lease.
    fn run_client(&mut self, link: &Link, desired: Option<&Desired>) {
        let dhcp4 = desired.is_some_and(|desired| desired.dhcp4);
        let mac = link.mac.filter(|_| dhcp4 && link.carrier);
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

    fn write_name_servers(&self) {
        let settings = resolv::settings(&self.network, self.leases.values());
        let written = settings.and_then(|text| resolv::write(Path::new(RESOLVER_CONFIG), &text));
        if let Err(error) = written {
            log::warn!("{RESOLVER_CONFIG}: {error}");
        }
        let text = resolv::text(self.leases.values());
        if let Err(error) = resolv::write(Path::new(RESOLV_CONF), &text) {
            log::warn!("{RESOLV_CONF}: {error}");
        }
    }

    /// Writes what is known, where that has changed.
    fn tell_view(&mut self, kernel: &Kernel, desired: &BTreeMap<u32, Desired>, missing: &[String]) {
        let view = view::view(kernel, desired, &self.leases, missing);
        if self.view.as_ref() == Some(&view) {
            return;
        }
        match view::write(Path::new(NETWORK_VIEW), &view) {
            Ok(()) => self.view = Some(view),
            Err(error) => log::warn!("{NETWORK_VIEW}: {error}"),
        }
    }

    /// What lacks until the network is as it shall be, links that cannot be made aside.
    fn missing(
        &mut self,
        kernel: &Kernel,
        desired: &BTreeMap<u32, Desired>,
        failed: &BTreeMap<u32, String>,
    ) -> Vec<String> {
        let mut missing = link::absent(&self.network, &kernel.links);
        let (mut configured, mut devices) = (0, 0);
        for link in &kernel.links {
            let Some(wanted) = desired.get(&link.index) else {
                continue;
            };
            if link.layer == Layer::Loopback {
                continue;
            }
            devices += 1;
            let has_lease = self.leases.contains_key(&link.index);
            let lack = lacking(link, &kernel.addresses_of(link.index), wanted, has_lease);
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
        let mut status = if missing.is_empty() {
            "configured".to_string()
        } else {
            missing.join("; ")
        };
        if let Some(stale) = &self.stale {
            status = format!("{status}; {stale}");
        }
        let patience = if self.reloaded {
            PATIENCE_AFTER_RELOAD
        } else if self.devices > 0 || !self.network.links.is_empty() {
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
        let look = if self.ready {
            LOOK_EVERY
        } else {
            left.clamp(Duration::from_millis(100), Duration::from_secs(1))
        };
        self.apply.next().map_or(look, |wait| wait.min(look))
    }
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()?
        .trim()
        .to_string();
    (!matches!(name.as_str(), "" | "(none)" | "localhost")).then_some(name)
}
