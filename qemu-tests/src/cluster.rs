//! A whole cluster of virtual nodes: one plain struct says all of it, one folder holds all of it.
//!
//! The folder has `cluster.json` (who is in it), `trust/` (roots, keys, the operator's certificate),
//! and per node its machine config, disk, the root hash of the build that the disk was made of, and logs. An existing folder is taken up again: disks and
//! trust stay. Everything secret is 0600. `cluster.json` is written last, so a folder without it is the
//! rest of an interrupted creation and is made anew.

mod folder;
mod members;
mod status;

use crate::{
    accel::Accel,
    error::{Error, Result},
    gateway::Gateway,
    images::{self, Image},
    switch::{Line, PortId, Switch},
    vm::{Boot, Credential, Disk, DiskBus, Nic, NicModel, Peer, Via, Vm, VmSpec},
};
use client::node::{Target, blocking::NodeClient};
pub use folder::{Identity, NodeIdentity, certificate, lock, target};
use serde::{Deserialize, Serialize};
pub use status::{ClusterStatus, EtcdView, MemberView, NodeView};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// The gateway's address in every cluster's LAN.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Prefix length of the LAN.
pub const PREFIX: u8 = 24;
/// Last byte of the first node's address.
const FIRST_NODE: u8 = 11;
/// Most nodes of one cluster: they share one /24 and one machine.
pub const MAX_NODES: u32 = 64;

/// All that a cluster is.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// Its name; nodes are NAME-1, NAME-2 and so on.
    pub name: String,
    /// Its folder; made if missing.
    pub folder: PathBuf,
    /// Nodes with the roles master and agent, first.
    pub masters: u32,
    /// Nodes with the role agent only, after them.
    pub agents: u32,
    /// The image whose raw disk is flashed.
    pub image: Image,
    /// Virtual processors of a node.
    pub cpus: u32,
    /// Memory of a node.
    pub memory_mib: u32,
    /// Size of a node's disk.
    pub disk_bytes: u64,
    /// How nodes boot.
    pub boot: BootWay,
    /// How disks are attached.
    pub bus: DiskBus,
    /// Model of the network cards.
    pub nic: NicModel,
    /// How the machine config reaches a node.
    pub config: ConfigWay,
    /// Nodes have a hardware watchdog.
    pub watchdog: bool,
    /// Lines of the LAN that are bad from the start, by node name.
    pub lines: BTreeMap<String, Line>,
    /// Real-time clocks that are wrong, by node name (see [`VmSpec::clock`]).
    pub clocks: BTreeMap<String, String>,
}

impl ClusterSpec {
    /// Three masters of 512 MiB with UEFI and virtio.
    pub fn new(name: &str, folder: &Path, image: Image) -> ClusterSpec {
        ClusterSpec {
            name: name.into(),
            folder: folder.into(),
            masters: 3,
            agents: 0,
            image,
            cpus: 1,
            memory_mib: 512,
            disk_bytes: 8 << 30,
            boot: BootWay::Uefi,
            bus: DiskBus::Virtio,
            nic: NicModel::Virtio,
            config: ConfigWay::FwCfg,
            watchdog: true,
            lines: BTreeMap::new(),
            clocks: BTreeMap::new(),
        }
    }
}

/// How nodes boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootWay {
    /// Firmware, boot loader and UKI from the node's disk.
    #[default]
    Uefi,
    /// The UKI's kernel directly; faster.
    Direct,
    /// Kernel and initrd of the `pxe` format, without a disk.
    Diskless,
}

/// How the machine config reaches a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigWay {
    /// fw_cfg credential.
    #[default]
    FwCfg,
    /// SMBIOS type 11 credential.
    Smbios,
}

/// One node of a cluster.
#[derive(Debug)]
pub struct Node {
    identity: NodeIdentity,
    vm: Vm,
    port: PortId,
    api: SocketAddr,
    target: Target,
}

impl Node {
    /// Its hostname.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// Its address in the LAN.
    pub fn address(&self) -> Ipv4Addr {
        self.identity.address
    }

    /// Its machine.
    pub fn vm(&mut self) -> &mut Vm {
        &mut self.vm
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.vm.spec().folder
    }

    /// Its port on the switch.
    pub fn port(&self) -> PortId {
        self.port
    }

    /// Where its API is reached from here.
    pub fn api_address(&self) -> SocketAddr {
        self.api
    }

    /// What a client of its API needs.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A client of its API, as the operator.
    pub fn api(&self) -> Result<NodeClient> {
        NodeClient::new(&self.target).map_err(|error| Error::Failed(error.to_string()))
    }

    /// Root hash of the build that its disk was made of; `None` if that is not known.
    pub fn root_hash(&self) -> Option<String> {
        folder::root_hash(self.folder())
    }

    /// Its disk's file.
    pub fn disk(&self) -> PathBuf {
        self.folder().join("disk.raw")
    }
}

/// A cluster; its machines end with this handle.
#[derive(Debug)]
pub struct Cluster {
    spec: ClusterSpec,
    identity: Identity,
    // Machines before gateway and switch: dropped in this order.
    nodes: Vec<Node>,
    gateway: Gateway,
    switch: Switch,
    accel: Accel,
    _lock: File,
}

impl Cluster {
    /// Makes the cluster's folder, or takes an existing one up again. Nothing runs yet.
    pub fn create(spec: ClusterSpec) -> Result<Cluster> {
        check(&spec)?;
        fs::create_dir_all(&spec.folder).map_err(Error::io("make", &spec.folder))?;
        let lock = folder::lock(&spec.folder, &spec.name)?;
        let identity = folder::open_or_create(&spec)?;
        let switch = Switch::start()?;
        let gateway = Gateway::start(&switch, GATEWAY, PREFIX)?;
        let mut cluster = Cluster {
            identity,
            nodes: Vec::new(),
            gateway,
            switch,
            accel: Accel::detect(),
            spec,
            _lock: lock,
        };
        for identity in cluster.identity.nodes.clone() {
            let node = cluster.make_node(identity)?;
            cluster.nodes.push(node);
        }
        Ok(cluster)
    }

    fn make_node(&self, identity: NodeIdentity) -> Result<Node> {
        let folder = folder::node(&self.spec.folder, &identity.name);
        let socket = folder.join("net0.sock");
        let port = self.switch.listen(&socket)?;
        if let Some(line) = self.spec.lines.get(&identity.name) {
            self.switch.set_port(port, *line);
        }
        let api = self.gateway.forward(
            0,
            SocketAddrV4::new(identity.address, spec_layout::port::NODE_API),
        )?;
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, api));
        let target = folder::target(&self.spec.folder, &identity.name, api)?;
        let vm = Vm::new(self.machine(&identity, &folder, &socket)?)?;
        Ok(Node {
            identity,
            vm,
            port,
            api,
            target,
        })
    }

    fn machine(&self, identity: &NodeIdentity, folder: &Path, socket: &Path) -> Result<VmSpec> {
        let spec = &self.spec;
        let boot = match spec.boot {
            BootWay::Uefi => Boot::Uefi,
            BootWay::Direct => spec.image.direct(folder)?,
            BootWay::Diskless => images::diskless(&spec.image)?,
        };
        let mut machine = VmSpec::new(&identity.name, folder, boot);
        machine.cpus = spec.cpus;
        machine.memory_mib = spec.memory_mib;
        machine.watchdog = spec.watchdog;
        machine.uuid = Some(identity.uuid.clone());
        machine.serial_number = Some(identity.name.clone());
        if let Some(clock) = spec.clocks.get(&identity.name) {
            machine.clock.clone_from(clock);
        }
        if spec.boot != BootWay::Diskless {
            machine.disks.push(Disk {
                path: folder::disk(folder, &spec.image, spec.disk_bytes)?,
                bus: spec.bus,
                serial: format!("{}-disk", identity.name),
            });
        }
        machine.nics.push(Nic {
            mac: identity.mac.clone(),
            model: spec.nic,
            peer: Peer::Switch(socket.into()),
        });
        machine.credentials.push(match spec.config {
            ConfigWay::FwCfg => Credential {
                name: "bedplate.config".into(),
                path: folder.join("config.toml"),
                via: Via::FwCfg,
            },
            ConfigWay::Smbios => Credential {
                name: "bedplate.config".into(),
                path: folder.join("config.smbios"),
                via: Via::Smbios,
            },
        });
        Ok(machine)
    }

    /// Switches every node on that is off.
    pub fn start(&mut self) -> Result<()> {
        (0..self.nodes.len()).try_for_each(|index| self.start_node(index))
    }

    /// Switches one node on, if it is off.
    pub fn start_node(&mut self, index: usize) -> Result<()> {
        let accel = self.accel;
        let vm = self.node_mut(index)?.vm();
        if vm.is_on() { Ok(()) } else { vm.start(accel) }
    }

    /// Presses every node's power button at once, and takes the power from those that are not off in
    /// time. Returns the names of those.
    pub fn stop(&mut self, timeout: Duration) -> Result<Vec<String>> {
        let stopped = thread::scope(|scope| {
            let stopping: Vec<_> = self
                .nodes
                .iter_mut()
                .map(|node| scope.spawn(move || (node.name().to_owned(), node.vm.stop(timeout))))
                .collect();
            stopping
                .into_iter()
                .map(thread::ScopedJoinHandle::join)
                .collect::<Vec<_>>()
        });
        let mut forced = Vec::new();
        for outcome in stopped {
            let (name, result) =
                outcome.map_err(|_| Error::Failed("a thread that stops a node ended".into()))?;
            if !result? {
                forced.push(name);
            }
        }
        Ok(forced)
    }

    /// How it is now, asked of every node at once.
    pub fn status(&mut self) -> ClusterStatus {
        status::ask(&self.spec.name, &mut self.nodes)
    }

    /// Waits until [`ClusterStatus::healthy`]; `seen` gets every status on the way.
    pub fn wait_ready(
        &mut self,
        timeout: Duration,
        mut seen: impl FnMut(&ClusterStatus),
    ) -> Result<ClusterStatus> {
        self.wait_for("every node to be ready", timeout, |status| {
            seen(status);
            status.healthy()
        })
    }

    /// Waits until a status passes `wanted`.
    pub fn wait_for(
        &mut self,
        what: &str,
        timeout: Duration,
        mut wanted: impl FnMut(&ClusterStatus) -> bool,
    ) -> Result<ClusterStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            let status = self.status();
            if wanted(&status) {
                return Ok(status);
            }
            if let Some(why) = status.given_up() {
                return Err(Error::Failed(format!("waited for {what}; {why}")));
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout {
                    what: what.into(),
                    seconds: timeout.as_secs(),
                    last: status.in_a_line(),
                });
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// What it was made of.
    pub fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// Who is in it.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its nodes, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node, from 0.
    pub fn node(&self, index: usize) -> Result<&Node> {
        self.nodes
            .get(index)
            .ok_or_else(|| no_node(&self.spec.name, index))
    }

    /// One node, from 0.
    pub fn node_mut(&mut self, index: usize) -> Result<&mut Node> {
        let name = &self.spec.name;
        self.nodes
            .get_mut(index)
            .ok_or_else(|| no_node(name, index))
    }

    /// The index of a node.
    pub fn index(&self, name: &str) -> Result<usize> {
        let found = self.nodes.iter().position(|node| node.name() == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.nodes.iter().map(Node::name).collect();
            Error::Refused(format!(
                "no node '{name}' in this cluster; it has {}",
                names.join(", ")
            ))
        })
    }

    /// The LAN.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// The way into the LAN.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }
}

fn no_node(name: &str, index: usize) -> Error {
    Error::Refused(format!("cluster {name} has no node number {index}"))
}

fn check(spec: &ClusterSpec) -> Result<()> {
    if spec.masters == 0 || spec.masters as usize > spec_config::MAX_MASTERS {
        let most = spec_config::MAX_MASTERS;
        return Err(Error::Refused(format!(
            "a cluster has 1 to {most} masters, not {}",
            spec.masters
        )));
    }
    if spec.masters + spec.agents > MAX_NODES {
        return Err(Error::Refused(format!(
            "a cluster here has at most {MAX_NODES} nodes"
        )));
    }
    Ok(())
}
