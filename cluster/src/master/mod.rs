//! `cluster master`: what a master does for the cluster before there is anything to schedule.
//!
//! It signs etcd's certificates with its own intermediates, decides what becomes of this node's etcd member
//! ([`decide`]), writes etcd's environment, and then says READY, which is what etcd.service waits for. It goes on:
//! nodes join at its endpoint ([`endpoint`]), a learner is promoted, a member that the cluster has given up is
//! replaced, certificates are renewed, and the node API is told how the members are ([`view`]).
//!
//! It may die at any moment: etcd runs on without it, and what it has decided is kept. What it decides it decides
//! anew at each look, also while etcd runs.

mod credentials;
mod decide;
mod endpoint;
mod environment;
mod etcd;
mod links;
mod record;
mod view;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use client::serve::{Limits, listen, serve};
use client::tls::{self, Clients, ServerKey};
use client::trust::Purpose;
use hyper_util::service::TowerToHyperService;
use spec_config::{Config, Hidden, Pem};
use spec_layout::{path, port};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::{logging, notify};
use credentials::Files;
use decide::{Decision, Record, Seat, Sight, Stage};
use endpoint::Endpoint;
use environment::Environment;
use links::Links;
use view::View;

/// Mode of etcd's environment: it names files and holds no secret.
const ENVIRONMENT_MODE: u32 = 0o644;
/// Open connections of one node or master to the endpoint: each needs one.
const CONNECTIONS_OF_ONE: usize = 8;
/// How often to look while something is to be done, and when all is well.
const BUSY: Duration = Duration::from_secs(1);
/// How often to look at first: the network and the other masters come up at the same time as this one.
const SOON: Duration = Duration::from_millis(250);
/// How long that is.
const FIRST: Duration = Duration::from_secs(30);
const CALM: Duration = Duration::from_secs(3);
/// Looks at which the process of a member that was replaced may still answer before that is said.
const LOOKS_TO_END: u32 = 30;

/// Why the program ends. PID 1 starts it again.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{file}: {reason}")]
    Config { file: &'static str, reason: String },
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error(transparent)]
    Http(#[from] client::http::Error),
}

/// Where everything is; tests have their own.
#[derive(Debug, Clone)]
struct Places {
    record: PathBuf,
    keys: PathBuf,
    environment: PathBuf,
    socket: PathBuf,
    data: PathBuf,
    endpoint: SocketAddr,
}

impl Places {
    fn of_this_machine() -> Self {
        let state = PathBuf::from(path::CLUSTER_STATE);
        Self {
            record: state.join("member.json"),
            keys: state.join("etcd"),
            environment: path::ETCD_ENV.into(),
            socket: path::CLUSTER_SOCKET.into(),
            data: path::ETCD_DATA.into(),
            endpoint: SocketAddr::from(([0u16; 8], port::CLUSTER)),
        }
    }
}

/// Runs until SIGTERM.
pub(crate) fn main(_args: &[String]) -> ExitCode {
    logging::start("bedplate-etcd");
    tls::install_provider();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::spawn(notify::feed_watchdog());
        tokio::select! {
            result = work() => result,
            _ = terminated.recv() => {
                notify::stopping();
                Ok(())
            }
        }
    });
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn work() -> Result<(), Error> {
    let refuse = |reason: String| Error::Config {
        file: path::MACHINE_CONFIG,
        reason,
    };
    let bytes = std::fs::read(path::MACHINE_CONFIG).map_err(|error| refuse(error.to_string()))?;
    let config =
        Config::parse_bytes(&bytes, Hidden::Refuse).map_err(|error| refuse(error.to_string()))?;
    Master::start(config, Places::of_this_machine())
        .await?
        .run()
        .await
}

/// A master at work.
struct Master {
    config: Config,
    places: Places,
    files: Files,
    own: Seat,
    seats: Vec<Seat>,
    endpoint: Arc<Endpoint>,
    server_key: Arc<ServerKey>,
    links: Links,
    renew_at: SystemTime,
    record: Option<Record>,
    view: Arc<View>,
    /// The endpoint and the view; they end with the master.
    servers: JoinSet<()>,
    /// The record that etcd's environment is made of; `None` before READY.
    started: Option<Record>,
    /// Looks since the last one at which etcd was not that of a member before.
    outlived: u32,
    began: Instant,
}

impl Master {
    /// Makes certificates and begins to answer others.
    async fn start(config: Config, places: Places) -> Result<Self, Error> {
        let seat = |master: &spec_config::Master| Seat {
            name: master.name.to_string(),
            peer_url: environment::peer_url(master.address),
        };
        let seats: Vec<Seat> = config.cluster.masters.iter().map(seat).collect();
        let own = config
            .own_master()
            .map(seat)
            .ok_or_else(|| credentials::Error::NotListed(config.node.hostname.to_string()))?;
        let record = record::read(&places.record)?;
        let files = Files::new(places.keys.clone());
        let credentials = credentials::renew(&config, &files)?;
        let server_key = ServerKey::new(&credentials.master.certificate, &credentials.master.key)?;
        let endpoint = Endpoint::new(config.clone(), seats.clone(), places.data.clone());
        endpoint.set_record(record.clone());
        let mut servers = JoinSet::new();
        let view = View::serve(&places.socket, &mut servers)?;
        let mut master = Self {
            servers,
            links: Links::new(&config, &credentials)?,
            renew_at: credentials::renewal_time(&credentials),
            files,
            own,
            seats,
            endpoint,
            server_key,
            record,
            view,
            started: None,
            outlived: 0,
            began: Instant::now(),
            config,
            places,
        };
        master.listen().await?;
        Ok(master)
    }

    /// Serves the endpoint in a task of its own.
    async fn listen(&mut self) -> Result<(), Error> {
        let listener = listen(self.places.endpoint).await?;
        let clients = Clients {
            roots: self
                .config
                .trust
                .cluster
                .roots
                .iter()
                .map(Pem::to_string)
                .collect(),
            cluster_id: self.config.cluster.id.to_string(),
            purposes: &[Purpose::Master],
            anonymous: true,
        };
        let tls = tls::server_config(self.server_key.clone(), &clients)?;
        let limits = Limits {
            connections_of_one: CONNECTIONS_OF_ONE,
            ..Limits::default()
        };
        let endpoint = self.endpoint.clone();
        self.servers
            .spawn(serve(listener, tls, limits, move |peer| {
                TowerToHyperService::new(endpoint.router(peer))
            }));
        Ok(())
    }

    /// Looks, decides, acts, for ever.
    async fn run(mut self) -> Result<(), Error> {
        loop {
            self.renew_if_due()?;
            let pause = self.step().await?;
            tokio::time::sleep(pause).await;
        }
    }

    fn renew_if_due(&mut self) -> Result<(), Error> {
        if SystemTime::now() < self.renew_at {
            return Ok(());
        }
        let credentials = credentials::renew(&self.config, &self.files)?;
        self.server_key
            .replace(&credentials.master.certificate, &credentials.master.key)?;
        self.links = Links::new(&self.config, &credentials)?;
        self.renew_at = credentials::renewal_time(&credentials);
        log::info!("etcd's certificates are renewed");
        Ok(())
    }

    /// One round; how long until the next one.
    async fn step(&mut self) -> Result<Duration, Error> {
        let sight = self.look().await;
        match decide::decide(&sight) {
            Decision::Keep { record } => {
                self.keep(record)?;
                return Ok(Duration::ZERO);
            }
            Decision::Start { record } => {
                self.start_etcd(record)?;
                if self.attend(&sight).await? {
                    return Ok(CALM);
                }
            }
            Decision::Remove { id } => {
                log::warn!(
                    "the disk of this node's etcd member {id:x} is lost: taking the member out"
                );
                self.view.say("taking the lost member out", Vec::new());
                if let Err(error) = self.links.remove(id).await {
                    self.wait(vec![format!(
                        "etcd does not take the lost member out: {error}"
                    )]);
                }
            }
            Decision::AddLearner => self.add_learner(&sight).await?,
            Decision::Wait { reasons } => self.wait(reasons),
        }
        let first = self.started.is_none() && self.began.elapsed() < FIRST;
        Ok(if first { SOON } else { BUSY })
    }

    async fn look(&self) -> Sight {
        let (own, seats, record) = (self.own.clone(), self.seats.clone(), self.record.clone());
        let data = record::data(record.as_ref(), &self.places.data);
        let members = self.links.members().await;
        // The other masters are asked only where a new cluster might begin.
        let alone = members.is_none() && !Stage::of(record.as_ref(), data, &seats).has_data();
        let peers = if alone {
            self.links.peers(&seats).await
        } else {
            Vec::new()
        };
        Sight {
            own,
            seats,
            record,
            data,
            peers,
            members,
        }
    }

    fn wait(&self, reasons: Vec<String>) {
        let status = format!("waiting: {}", reasons.join("; "));
        if self.view.say("waiting before etcd starts", reasons) {
            log::info!("{status}");
            notify::status(&status);
        }
    }

    async fn add_learner(&mut self, sight: &Sight) -> Result<(), Error> {
        self.view.say("entering the cluster", Vec::new());
        match self.links.add_learner(&self.own.peer_url).await {
            Ok((id, members)) => {
                log::info!("this node enters the etcd cluster as learner {id:x}");
                self.keep(decide::added(sight, id, &members))
            }
            Err(error) => {
                self.wait(vec![format!("etcd does not add this node: {error}")]);
                Ok(())
            }
        }
    }

    /// Writes a record; what is told to other masters follows from it.
    fn keep(&mut self, record: Record) -> Result<(), Error> {
        record::write(&self.places.record, &record)?;
        self.endpoint.set_record(Some(record.clone()));
        self.record = Some(record);
        Ok(())
    }

    /// Lets etcd start with the record: its environment is that of the record from here on. etcd of a member that
    /// was taken out ends by itself, and PID 1 starts it again, as the new one; where it does not, [`Self::outlived`]
    /// says so.
    fn start_etcd(&mut self, record: Record) -> Result<(), Error> {
        if self.record.as_ref() != Some(&record) {
            self.keep(record.clone())?;
        }
        if self.started.as_ref() == Some(&record) {
            return Ok(());
        }
        let environment = Environment {
            name: &self.own.name,
            address: self
                .config
                .own_master()
                .map_or(self.places.endpoint.ip(), |master| master.address),
            cluster_id: self.config.cluster.id.as_str(),
            data: &self.places.data,
            files: &self.files,
            record: &record,
        };
        client::key_file::write(
            &self.places.environment,
            environment.text().as_bytes(),
            ENVIRONMENT_MODE,
        )?;
        let generation = self
            .started
            .replace(record.clone())
            .map(|old| old.generation);
        if generation != Some(record.generation) {
            let status = format!(
                "etcd starts in {}, cluster state {}",
                record.data_folder(),
                record.mode
            );
            log::info!("{status}");
            notify::ready(&status);
            self.view.decided(&status);
        }
        Ok(())
    }

    /// Looks after the member while etcd runs; whether all is well.
    async fn attend(&mut self, sight: &Sight) -> Result<bool, Error> {
        let statuses = self.links.statuses().await;
        let members = sight.members.as_deref();
        let own = statuses
            .iter()
            .find(|(name, _)| *name == self.own.name)
            .and_then(|(_, status)| status.as_ref());
        let outlived = self.outlived(own.map(|own| own.member_id));
        self.view.members(&self.seats, members, &statuses, outlived);
        let (Some(own), Some(members)) = (own, members) else {
            return Ok(false);
        };
        let Some(member) = members.iter().find(|member| member.id == own.member_id) else {
            return Ok(false);
        };
        self.confirm(member)?;
        if member.learner {
            match self.links.promote(member.id).await {
                Ok(()) => log::info!(
                    "this node's etcd member {:x} has caught up and votes now",
                    member.id
                ),
                Err(error) => log::debug!("not promoted yet: {error}"),
            }
            return Ok(false);
        }
        Ok(
            statuses.iter().all(|(_, status)| status.is_some())
                && members.len() == self.seats.len(),
        )
    }

    /// Why a person is needed, where the process of a member that was replaced does not end.
    fn outlived(&mut self, running: Option<u64>) -> Option<String> {
        let record = self.record.as_ref();
        let before = running.and_then(|running| decide::replaced(record?, running));
        self.outlived = before.map_or(0, |_| self.outlived.saturating_add(1));
        let before = before.filter(|_| self.outlived >= LOOKS_TO_END)?;
        let reason = format!(
            "etcd still runs as member {before:x}, which was replaced: restart etcd.service"
        );
        if self.outlived == LOOKS_TO_END {
            log::warn!("{reason}");
        }
        Some(reason)
    }

    /// From now on the data is never begun anew.
    fn confirm(&mut self, member: &decide::Member) -> Result<(), Error> {
        let confirmed = self
            .record
            .as_ref()
            .and_then(|record| decide::confirmed(record, member));
        match confirmed {
            Some(record) => {
                log::info!("this node's etcd member is {:x}", member.id);
                self.start_etcd(record)
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
