//! The connections of a master: to the other masters' endpoints, and to every etcd member's client port.

use std::net::SocketAddr;
use std::time::Duration;

use client::http::{Error, Http};
use client::tls::Server;
use client::trust::Purpose;
use futures_util::future::join_all;
use spec_config::{Config, Pem};
use spec_layout::port;

use super::credentials::Own;
use super::decide::{Member, Peer, Seat};
use super::endpoint::PeerAnswer;
use super::etcd::{Etcd, Status};

/// How long another master may take to answer.
const PEER_TIMEOUT: Duration = Duration::from_secs(3);

struct Link {
    name: String,
    /// `None` towards this node itself.
    master: Option<Http>,
    etcd: Etcd,
}

/// All of them, this node's own first.
pub(super) struct Links(Vec<Link>);

impl Links {
    pub(super) fn new(config: &Config, own: &Own) -> Result<Self, Error> {
        let roots = |pems: &[Pem]| pems.iter().map(Pem::to_string).collect::<Vec<_>>();
        let mut links = Vec::new();
        for master in &config.cluster.masters {
            let server = |roots: Vec<String>, purpose| Server {
                roots,
                cluster_id: config.cluster.id.to_string(),
                purpose,
                name: master.name.to_string(),
            };
            let is_own = master.name == config.node.hostname;
            let peer = || {
                let address = SocketAddr::new(master.address, port::CLUSTER);
                let shown = Some((own.master.certificate.as_str(), own.master.key.as_str()));
                Http::new(
                    address,
                    &server(roots(&config.trust.cluster.roots), Purpose::Master),
                    shown,
                )
            };
            let etcd = Http::new(
                SocketAddr::new(master.address, port::ETCD_CLIENT),
                &server(roots(&config.trust.etcd_client.roots), Purpose::EtcdServer),
                Some((own.etcd.certificate.as_str(), own.etcd.key.as_str())),
            )?;
            let link = Link {
                name: master.name.to_string(),
                master: if is_own { None } else { Some(peer()?) },
                etcd: Etcd::new(etcd),
            };
            if is_own {
                links.insert(0, link)
            } else {
                links.push(link)
            }
        }
        Ok(Self(links))
    }

    /// What the other masters say of their members.
    pub(super) async fn peers(&self, seats: &[Seat]) -> Vec<Peer> {
        let asked = self
            .0
            .iter()
            .filter_map(|link| Some((link, link.master.as_ref()?)));
        join_all(asked.map(|(link, http)| async move {
            let answer = match tokio::time::timeout(
                PEER_TIMEOUT,
                http.get::<PeerAnswer>("/v1/peer"),
            )
            .await
            {
                Ok(Ok(answer)) if answer.seats == seats => Ok(answer.stage),
                Ok(Ok(_)) => Err(
                    "its config has another list of masters; give all masters the same".to_owned(),
                ),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            };
            Peer {
                name: link.name.clone(),
                answer,
            }
        }))
        .await
    }

    /// The members as a quorum lists them, asked of this node's etcd first.
    pub(super) async fn members(&self) -> Option<Vec<Member>> {
        let (own, others) = self.0.split_first()?;
        if let Ok(members) = own.etcd.members().await {
            return Some(members);
        }
        let answers = join_all(others.iter().map(|link| link.etcd.members())).await;
        answers.into_iter().find_map(Result::ok)
    }

    /// What every master's etcd says of itself.
    pub(super) async fn statuses(&self) -> Vec<(String, Option<Status>)> {
        join_all(
            self.0
                .iter()
                .map(|link| async { (link.name.clone(), link.etcd.status().await.ok()) }),
        )
        .await
    }

    /// Takes a member out, by the first etcd that does it.
    pub(super) async fn remove(&self, id: u64) -> Result<(), Error> {
        self.first(|etcd| async move { etcd.remove(id).await })
            .await
    }

    /// Adds a learner, by the first etcd that does it.
    pub(super) async fn add_learner(&self, peer_url: &str) -> Result<(u64, Vec<Member>), Error> {
        self.first(|etcd| async move { etcd.add_learner(peer_url).await })
            .await
    }

    /// Promotes a learner, by the first etcd that does it.
    pub(super) async fn promote(&self, id: u64) -> Result<(), Error> {
        self.first(|etcd| async move { etcd.promote(id).await })
            .await
    }

    /// Asks the other nodes' etcd one after the other; this node's own is the one in question.
    async fn first<T, F>(&self, call: impl Fn(Etcd) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut last = None;
        for link in self.0.iter().skip(1) {
            match call(link.etcd.clone()).await {
                Ok(done) => return Ok(done),
                // A refusal is an answer; the next one would say the same.
                Err(error) if error.status().is_some() => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Connect {
            server: "etcd".to_owned(),
            reason: "there is no other master".to_owned(),
        }))
    }
}
