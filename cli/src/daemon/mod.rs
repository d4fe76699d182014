//! The daemon of a cluster: one process that owns its machines, its switch and its gateway.
//!
//! One thread owns the [`Cluster`] and does everything to it, one event after the other; a thread per
//! connection only carries lines. Machines are tied to this process by the kernel, so however it ends, they
//! end. Whoever starts the daemon holds its first connection (its standard input); if that closes before the
//! cluster was released, the start was given up and everything is taken down.

mod connection;
mod protocol;
mod server;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use qemu_tests::cluster::BootWay;
use qemu_tests::process::Identity;
use qemu_tests::{Cluster, ClusterSpec};

pub(crate) use connection::Connection;
pub(crate) use protocol::{Description, NodeDescription, Reply, Request};
use server::{Event, FIRST, Id, Server};

use crate::cluster_folder::ClusterFolder;
use crate::exit::{Context, Error};

/// Pause between two looks at the cluster while somebody watches.
const LOOK: Duration = Duration::from_millis(300);
/// Nodes get this long to stop when the daemon is told to end by a signal.
const SIGNAL_STOP: Duration = Duration::from_secs(20);

/// What to run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The cluster's folder.
    pub(crate) folder: ClusterFolder,
    /// The recipe's name, for people.
    pub(crate) recipe: String,
    /// Root hash of the build that new disks are to be made of.
    pub(crate) root_hash: String,
    /// All that the cluster is.
    pub(crate) spec: ClusterSpec,
}

/// Runs until the cluster is taken down.
pub(crate) fn run(plan: Plan) -> Result<(), Error> {
    // A session of its own: Ctrl-C at the terminal that started it and its hang-up are not for it.
    let _ = rustix::process::setsid();
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block().context("cannot block signals")?;
    let log = Log(Instant::now());
    log.line(&format!(
        "daemon of cluster {} starts, process {}",
        plan.folder.name(),
        std::process::id()
    ));
    let server = Server::start()?;
    server.watch_signals(signals);
    let mut daemon = match Daemon::new(plan, server, log) {
        Ok(daemon) => daemon,
        Err((server, error)) => {
            server.reply(FIRST, &Reply::Error(error.to_string()));
            server.finish();
            return Err(error);
        }
    };
    let outcome = daemon.serve();
    daemon.finish();
    outcome
}

struct Log(Instant);

impl Log {
    fn line(&self, text: &str) {
        eprintln!("[{:10.3}] {text}", self.0.elapsed().as_secs_f64());
    }
}

struct Daemon {
    folder: ClusterFolder,
    recipe: String,
    cluster: Cluster,
    server: Server,
    watchers: BTreeSet<Id>,
    /// The first connection still keeps the cluster alive.
    owned: bool,
    log: Log,
}

/// What an event leads to.
enum Next {
    GoOn,
    End,
}

impl Daemon {
    fn new(plan: Plan, mut server: Server, log: Log) -> Result<Self, (Server, Error)> {
        // The cluster's lock comes first: who has it owns the socket and the pid file too.
        let cluster = match create(plan.spec, &plan.root_hash) {
            Ok(cluster) => cluster,
            Err(error) => return Err((server, Error::failed(error))),
        };
        if let Err(error) = announce(&plan.folder, &mut server) {
            return Err((server, error));
        }
        Ok(Self {
            folder: plan.folder,
            recipe: plan.recipe,
            cluster,
            server,
            watchers: BTreeSet::new(),
            owned: true,
            log,
        })
    }

    fn serve(&mut self) -> Result<(), Error> {
        loop {
            let event = match next(self.server.events(), !self.watchers.is_empty()) {
                Some(event) => event,
                None => {
                    self.look();
                    continue;
                }
            };
            match self.handle(event)? {
                Next::GoOn => {}
                Next::End => return Ok(()),
            }
        }
    }

    fn handle(&mut self, event: Event) -> Result<Next, Error> {
        match event {
            Event::Request(id, request) => {
                self.watchers.remove(&id);
                return self.answer(id, request);
            }
            Event::Malformed(id, message) => self.server.reply(id, &Reply::Error(message)),
            Event::Closed(id) => {
                self.watchers.remove(&id);
                self.server.forget(id);
                if id == FIRST && self.owned {
                    self.log
                        .line("whoever started the cluster is gone before it was ready: power off");
                    return Ok(Next::End);
                }
            }
            Event::Signal(signal) => {
                self.log.line(&format!("{signal}: stopping all nodes"));
                self.stop(SIGNAL_STOP);
                return Ok(Next::End);
            }
        }
        Ok(Next::GoOn)
    }

    fn answer(&mut self, id: Id, request: Request) -> Result<Next, Error> {
        let reply = match request {
            Request::Describe => Reply::Description(self.describe()),
            Request::Status => Reply::Status(Box::new(self.cluster.status())),
            Request::Watch => {
                self.watchers.insert(id);
                return Ok(Next::GoOn);
            }
            Request::Start => match self.cluster.start() {
                Ok(()) => {
                    self.log.line("all nodes are switched on");
                    Reply::Ok
                }
                Err(error) => {
                    self.log.line(&format!("a node does not start: {error}"));
                    Reply::Error(error.to_string())
                }
            },
            Request::Release => {
                // Only who started the cluster kept it alive; another `up` that found it ready has nothing to release.
                if id == FIRST {
                    self.owned = false;
                    self.log
                        .line("released: the cluster stays until it is taken down");
                }
                Reply::Ok
            }
            Request::Down { seconds } => {
                self.log.line("down: stopping all nodes");
                let forced = self.stop(Duration::from_secs(seconds));
                self.server.reply(id, &Reply::Down { forced });
                return Ok(Next::End);
            }
        };
        self.server.reply(id, &reply);
        Ok(Next::GoOn)
    }

    fn stop(&mut self, timeout: Duration) -> Vec<String> {
        match self.cluster.stop(timeout) {
            Ok(forced) => forced,
            Err(error) => {
                self.log.line(&format!("stopping: {error}"));
                Vec::new()
            }
        }
    }

    fn look(&mut self) {
        let status = self.cluster.status();
        for id in &self.watchers {
            self.server
                .reply(*id, &Reply::Status(Box::new(status.clone())));
        }
    }

    fn describe(&mut self) -> Description {
        let mut nodes = Vec::new();
        for index in 0..self.cluster.nodes().len() {
            let Ok(node) = self.cluster.node_mut(index) else {
                continue;
            };
            let (console, serial_log, pid) = (
                node.vm().console_path(),
                node.vm().serial_path(),
                node.vm().pid(),
            );
            nodes.push(NodeDescription {
                name: node.name().to_owned(),
                address: node.address().to_string(),
                root_hash: node.root_hash(),
                api: node.api_address(),
                console,
                serial_log,
                pid,
            });
        }
        Description {
            name: self.folder.name().to_owned(),
            recipe: self.recipe.clone(),
            image: self.cluster.identity().image.clone(),
            memory_mib: self.cluster.spec().memory_mib,
            cpus: self.cluster.spec().cpus,
            direct: self.cluster.spec().boot == BootWay::Direct,
            pid: std::process::id(),
            nodes,
        }
    }

    fn finish(self) {
        let Self {
            folder,
            cluster,
            server,
            log,
            ..
        } = self;
        // Machines first, then the files that say we are there, then the connections: who waits for them to
        // close finds nothing left.
        drop(cluster);
        for file in [folder.socket(), folder.pid_file()] {
            let _ = std::fs::remove_file(file);
        }
        log.line("the daemon ends");
        server.finish();
    }
}

/// Makes the cluster while nobody can build into the image's folder, which all clusters of a recipe share.
fn create(spec: ClusterSpec, root_hash: &str) -> Result<Cluster, qemu_tests::Error> {
    let _held = spec.image.hold(root_hash)?;
    Cluster::create(spec)
}

/// The next event; `None` when it is time to look at the cluster.
fn next(events: &Receiver<Event>, watched: bool) -> Option<Event> {
    if !watched {
        // The server holds a sender, so the channel stays open.
        return events.recv().ok();
    }
    events.recv_timeout(LOOK).ok()
}

/// Listens on the socket and writes the pid file.
fn announce(folder: &ClusterFolder, server: &mut Server) -> Result<(), Error> {
    let path: PathBuf = folder.socket();
    let listener = qemu_tests::socket::bind(&path).map_err(Error::failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .context(format!("cannot protect {}", path.display()))?;
    server.listen(listener)?;
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    match Identity::of(pid) {
        Some(identity) => identity.write(&folder.pid_file()).map_err(Error::failed),
        None => Err(Error::Failed("/proc does not show this process".into())),
    }
}
