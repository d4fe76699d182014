//! Writing to a cluster's etcd from a test, as an etcd client of its own.
//!
//! The operator's certificate is not valid there; the test has the cluster's folder and signs itself one
//! under the root `etcd-client`. It speaks etcd's JSON gateway (etcd, "gRPC gateway").

use crate::{
    cluster::{Cluster, certificate},
    error::{Error, Result},
};
use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use client::{
    ca::Credentials,
    http::{self, Http},
    tls::Server,
    trust::{Purpose, Root},
};
use serde_json::{Value, json};
use spec_layout::port;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// How long one member may take before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long to wait for a member's own refusal: longer than it tries, which is ten seconds with its election timeout.
const PATIENCE_FOR_REFUSAL: Duration = Duration::from_secs(40);
/// gRPC's "unavailable" and "deadline exceeded" as the gateway tells them.
const WITHOUT_QUORUM: [u16; 2] = [503, 504];

/// Who a member says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberIdentity {
    /// Id of its cluster.
    pub cluster_id: String,
    /// Its own id.
    pub member_id: String,
}

/// A client of all members.
#[derive(Debug)]
pub struct Etcd {
    runtime: Runtime,
    members: Vec<(String, SocketAddr)>,
    cluster_id: String,
    roots: Vec<String>,
    credentials: Credentials,
}

impl Etcd {
    /// A client of every master of the cluster.
    pub fn of(cluster: &Cluster) -> Result<Etcd> {
        let folder = &cluster.spec().folder;
        let identity = cluster.identity();
        let root = folder
            .join("trust")
            .join(format!("{}.crt", Root::EtcdClient));
        let mut members = Vec::new();
        for node in identity.nodes.iter().filter(|node| node.master) {
            let to = SocketAddrV4::new(node.address, port::ETCD_CLIENT);
            let local = cluster.gateway().forward(0, to)?;
            members.push((
                node.name.clone(),
                SocketAddr::from((Ipv4Addr::LOCALHOST, local)),
            ));
        }
        Ok(Etcd {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Error::doing("start a runtime"))?,
            members,
            cluster_id: identity.cluster_id.clone(),
            roots: vec![fs::read_to_string(&root).map_err(Error::io("read", &root))?],
            credentials: certificate(folder, &identity.cluster_id, Purpose::EtcdClient, "test")?,
        })
    }

    /// Writes through whichever member takes it.
    pub fn put(&self, key: &str, value: &str) -> Result<()> {
        let body = json!({ "key": BASE64.encode(key), "value": BASE64.encode(value) });
        let mut last = String::new();
        for member in &self.members {
            match self.ask(member, "/v3/kv/put", &body) {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(Error::Failed(format!(
            "no etcd member takes a write; the last one: {last}"
        )))
    }

    /// Writes again and again until it is taken; returns how long that took.
    pub fn put_within(&self, key: &str, value: &str, timeout: Duration) -> Result<Duration> {
        let started = Instant::now();
        loop {
            match self.put(key, value) {
                Ok(()) => return Ok(started.elapsed()),
                Err(error) if started.elapsed() >= timeout => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// Reads from one member, by quorum.
    pub fn get(&self, member: &str, key: &str) -> Result<Option<String>> {
        self.range(member, &json!({ "key": BASE64.encode(key) }))
    }

    /// Reads what one member has on its own disk, without asking the others.
    pub fn get_local(&self, member: &str, key: &str) -> Result<Option<String>> {
        self.range(
            member,
            &json!({ "key": BASE64.encode(key), "serializable": true }),
        )
    }

    fn range(&self, member: &str, body: &Value) -> Result<Option<String>> {
        let answer = self.ask(self.member(member)?, "/v3/kv/range", body)?;
        let value = answer.pointer("/kvs/0/value").and_then(Value::as_str);
        let value = value.and_then(|text| BASE64.decode(text).ok());
        Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Who a member says it is.
    pub fn identity(&self, member: &str) -> Result<MemberIdentity> {
        let answer = self.ask(self.member(member)?, "/v3/maintenance/status", &json!({}))?;
        let id = |name: &str| {
            let id = answer.pointer(&format!("/header/{name}"));
            let id = id.and_then(Value::as_str).map(str::to_owned);
            id.ok_or_else(|| Error::Failed(format!("{member} does not tell its {name}")))
        };
        Ok(MemberIdentity {
            cluster_id: id("cluster_id")?,
            member_id: id("member_id")?,
        })
    }

    /// In which words a member refuses a write for want of a quorum. An error where it takes it, or says nothing.
    pub fn refused_put(&self, member: &str, key: &str, value: &str) -> Result<String> {
        let body = json!({ "key": BASE64.encode(key), "value": BASE64.encode(value) });
        self.refusal(member, "/v3/kv/put", &body)
    }

    /// In which words a member refuses a read by quorum.
    pub fn refused_get(&self, member: &str, key: &str) -> Result<String> {
        self.refusal(
            member,
            "/v3/kv/range",
            &json!({ "key": BASE64.encode(key) }),
        )
    }

    fn refusal(&self, member: &str, path: &str, body: &Value) -> Result<String> {
        match self.call(self.member(member)?, path, body, PATIENCE_FOR_REFUSAL) {
            Err(http::Error::Refused {
                status, message, ..
            }) if WITHOUT_QUORUM.contains(&status) => Ok(message),
            Err(other) => Err(Error::Failed(format!("{member} does not refuse: {other}"))),
            Ok(answer) => Err(Error::Failed(format!(
                "{member} answers without a quorum: {answer}"
            ))),
        }
    }

    fn member(&self, name: &str) -> Result<&(String, SocketAddr)> {
        let member = self.members.iter().find(|(known, _)| known == name);
        member.ok_or_else(|| Error::Refused("no such etcd member".into()))
    }

    /// Reads from one member again and again until it answers.
    pub fn get_within(&self, member: &str, key: &str, timeout: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.get(member, key) {
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(200)),
                answer => return answer,
            }
        }
    }

    fn ask(&self, member: &(String, SocketAddr), path: &str, body: &Value) -> Result<Value> {
        let answer = self.call(member, path, body, PATIENCE);
        answer.map_err(|error| Error::Failed(error.to_string()))
    }

    fn call(
        &self,
        (name, address): &(String, SocketAddr),
        path: &str,
        body: &Value,
        patience: Duration,
    ) -> std::result::Result<Value, http::Error> {
        let server = Server {
            roots: self.roots.clone(),
            cluster_id: self.cluster_id.clone(),
            purpose: Purpose::EtcdServer,
            name: name.clone(),
        };
        let own = Some((
            self.credentials.certificate.as_str(),
            self.credentials.key.as_str(),
        ));
        let http = Http::new(*address, &server, own)?;
        self.runtime
            .block_on(http.post_within(path, body, patience))
    }
}
