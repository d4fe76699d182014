//! The masters' cluster endpoint: nodes join here, and masters ask each other about etcd's data.
//!
//! - `POST /v1/join` takes clients without a certificate, for the join token. Of the request only the public key
//!   and the host name are believed; the address is the one it came from. Masters sign for themselves, so no
//!   joining node gets a master's name or address.
//! - `GET /v1/peer` is for other masters' certificates only.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONNECTION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use client::serve::Peer;
use client::trust::{Holder, Identity, Purpose, Root};
use serde::{Deserialize, Serialize};
use spec_api::{ApiError, JoinAnswer, JoinRequest};
use spec_config::{Config, Hostname};
use subtle::ConstantTimeEq;

use super::decide::{Record, Seat, Stage};
use super::{credentials, record};

/// Most bytes of a join request.
const MAX_BODY: usize = 16 * 1024;
/// How long a request may take, its body too: who has no certificate may begin one.
const DEADLINE: Duration = Duration::from_secs(15);
/// Joins per second, and how many may come at once: a whole cluster that is switched on.
const JOINS_PER_SECOND: f64 = 5.0;
const JOIN_BURST: f64 = 50.0;
/// What a wrong token costs its sender, and nobody else.
const PENALTY: Duration = Duration::from_secs(1);

/// What a master tells another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeerAnswer {
    /// Its own member.
    pub(super) stage: Stage,
    /// The masters of its config: all must have the same.
    pub(super) seats: Vec<Seat>,
}

/// What the endpoint works with.
pub(super) struct Endpoint {
    config: Config,
    seats: Vec<Seat>,
    /// Where etcd's data is.
    data: PathBuf,
    record: Mutex<Option<Record>>,
    joins: Mutex<RateLimit>,
    deadline: Duration,
}

impl Endpoint {
    pub(super) fn new(config: Config, seats: Vec<Seat>, data: PathBuf) -> Arc<Self> {
        let joins = Mutex::new(RateLimit::new(Instant::now()));
        Arc::new(Self {
            config,
            seats,
            data,
            record: Mutex::new(None),
            joins,
            deadline: DEADLINE,
        })
    }

    /// What other masters are told of from now on.
    pub(super) fn set_record(&self, record: Option<Record>) {
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = record;
    }

    /// Looked up each time: from one moment to the next etcd is started.
    fn stage(&self) -> Stage {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let data = record::data(record.as_ref(), &self.data);
        Stage::of(record.as_ref(), data, &self.seats)
    }

    /// The router of one connection.
    pub(super) fn router(self: &Arc<Self>, peer: Peer) -> Router {
        Router::new()
            .route("/v1/join", post(join))
            .route("/v1/peer", get(peer_answer))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(Extension(peer))
            .layer(from_fn_with_state(self.clone(), in_time))
            .with_state(self.clone())
    }
}

/// A refused request.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(ApiError { error: self.1 })).into_response()
    }
}

/// A request that takes too long is given up, and its connection with it: what it still has to say is not waited for.
async fn in_time(State(endpoint): State<Arc<Endpoint>>, request: Request, next: Next) -> Response {
    let late = |_| {
        let refusal = Refusal(
            StatusCode::REQUEST_TIMEOUT,
            "the request took too long".to_owned(),
        );
        ([(CONNECTION, "close")], refusal).into_response()
    };
    tokio::time::timeout(endpoint.deadline, next.run(request))
        .await
        .unwrap_or_else(late)
}

async fn peer_answer(
    State(endpoint): State<Arc<Endpoint>>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<PeerAnswer>, Refusal> {
    if peer.holder.is_none() {
        return Err(Refusal(
            StatusCode::FORBIDDEN,
            "only masters ask this, with their certificates".to_owned(),
        ));
    }
    Ok(Json(PeerAnswer {
        stage: endpoint.stage(),
        seats: endpoint.seats.clone(),
    }))
}

async fn join(
    State(endpoint): State<Arc<Endpoint>>,
    Extension(peer): Extension<Peer>,
    request: Result<Json<JoinRequest>, JsonRejection>,
) -> Result<Json<JoinAnswer>, Refusal> {
    let from = peer.address.ip().to_canonical();
    let Json(request) =
        request.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?;
    if !token_is_right(&endpoint.config, &request.token) {
        log::warn!(
            "{from} joins as {:?} with a wrong token",
            short(&request.name)
        );
        tokio::time::sleep(PENALTY).await;
        return Err(Refusal(
            StatusCode::FORBIDDEN,
            "the join token is wrong".to_owned(),
        ));
    }
    let allowed = endpoint
        .joins
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take(Instant::now());
    if !allowed {
        return Err(Refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "too many nodes join at once; try again".to_owned(),
        ));
    }
    let identity = admitted(&endpoint.config, &request, from)
        .map_err(|reason| Refusal(StatusCode::CONFLICT, reason))?;
    let authority = credentials::authority(&endpoint.config, Root::NodeApi)
        .map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let certificate = authority
        .sign_request(&request.node_api, &identity)
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
    log::info!("{from} joins as {}", identity.holder.name);
    Ok(Json(JoinAnswer {
        node_api: certificate,
    }))
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Compares without telling by time where the first difference is.
fn token_is_right(config: &Config, shown: &str) -> bool {
    let token = config.cluster.join_token.expose().as_bytes();
    token.ct_eq(shown.as_bytes()).into()
}

/// Who a joining node may be.
fn admitted(config: &Config, request: &JoinRequest, from: IpAddr) -> Result<Identity, String> {
    if request.cluster_id != config.cluster.id.as_str() {
        return Err("this is another cluster".to_owned());
    }
    let name: Hostname = request.name.parse().map_err(|error| format!("{error}"))?;
    let masters = &config.cluster.masters;
    if masters.iter().any(|master| master.name == name) {
        return Err(format!("{name} is a master; masters sign for themselves"));
    }
    if masters.iter().any(|master| master.address == from) {
        return Err(format!(
            "{from} is a master's address; masters sign for themselves"
        ));
    }
    let holder = Holder::new(config.cluster.id.as_str(), Purpose::Node, name.as_str());
    Ok(Identity {
        holder,
        addresses: vec![from],
    })
}

/// A bucket of tokens that fills with time.
#[derive(Debug)]
struct RateLimit {
    tokens: f64,
    at: Instant,
}

impl RateLimit {
    fn new(now: Instant) -> Self {
        Self {
            tokens: JOIN_BURST,
            at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * JOINS_PER_SECOND).min(JOIN_BURST);
        self.at = now;
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::decide::{Mode, RECORD_VERSION};
    use crate::master::tests::cluster;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    fn request(config: &Config, name: &str) -> JoinRequest {
        JoinRequest {
            cluster_id: config.cluster.id.to_string(),
            name: name.to_owned(),
            token: "join-token-of-the-test".to_owned(),
            node_api: client::ca::request(name).unwrap().request,
        }
    }

    async fn asked(request: JoinRequest, config: &Config) -> Result<JoinAnswer, Refusal> {
        let endpoint = Endpoint::new(config.clone(), Vec::new(), PathBuf::new());
        let peer = Peer {
            address: "127.0.0.9:1".parse().unwrap(),
            holder: None,
        };
        join(State(endpoint), Extension(peer), Ok(Json(request)))
            .await
            .map(|Json(answer)| answer)
    }

    #[tokio::test]
    async fn a_node_with_the_token_gets_its_certificate() {
        let config = cluster(&["127.0.0.2"]).remove(0);
        let answer = asked(request(&config, "agent-1"), &config).await.unwrap();
        let server = client::tls::Server {
            roots: config
                .trust
                .node_api
                .roots
                .iter()
                .map(|pem| pem.to_string())
                .collect(),
            cluster_id: config.cluster.id.to_string(),
            purpose: Purpose::Node,
            name: "agent-1".to_owned(),
        };
        client::tls::verify(&answer.node_api, &server).unwrap();
    }

    #[tokio::test]
    async fn a_wrong_token_is_refused_slowly() {
        let config = cluster(&["127.0.0.2"]).remove(0);
        let began = Instant::now();
        for token in [
            "",
            "join-token-of-the-tesT",
            "join-token-of-the-test-and-more",
        ] {
            let wrong = JoinRequest {
                token: token.to_owned(),
                ..request(&config, "agent-1")
            };
            assert_eq!(
                asked(wrong, &config).await.unwrap_err().0,
                StatusCode::FORBIDDEN
            );
        }
        assert!(began.elapsed() >= PENALTY * 3);
    }

    #[tokio::test]
    async fn a_broken_request_for_a_certificate_is_refused() {
        let config = cluster(&["127.0.0.2"]).remove(0);
        let broken = JoinRequest {
            node_api: "garbage".to_owned(),
            ..request(&config, "agent-1")
        };
        assert_eq!(
            asked(broken, &config).await.unwrap_err().0,
            StatusCode::BAD_REQUEST
        );
    }

    #[test]
    fn nobody_joins_as_a_master_or_under_a_name_that_is_none() {
        let config = cluster(&["127.0.0.2", "127.0.0.3"]).remove(0);
        let from: IpAddr = "127.0.0.9".parse().unwrap();
        assert!(
            admitted(&config, &request(&config, "dev-2"), from)
                .unwrap_err()
                .contains("is a master")
        );
        let master: IpAddr = "127.0.0.3".parse().unwrap();
        assert!(
            admitted(&config, &request(&config, "agent-1"), master)
                .unwrap_err()
                .contains("master's address")
        );
        let odd = JoinRequest {
            name: "a/b".to_owned(),
            ..request(&config, "x")
        };
        assert!(
            admitted(&config, &odd, from)
                .unwrap_err()
                .contains("not a host name")
        );
        let foreign = JoinRequest {
            cluster_id: "ff".to_owned(),
            ..request(&config, "agent-1")
        };
        assert!(admitted(&config, &foreign, from).is_err());
    }

    #[tokio::test]
    async fn a_client_without_certificate_learns_nothing_of_etcd() {
        let config = cluster(&["127.0.0.2"]).remove(0);
        let endpoint = Endpoint::new(config, Vec::new(), PathBuf::new());
        let peer = Peer {
            address: "127.0.0.9:1".parse().unwrap(),
            holder: None,
        };
        assert!(peer_answer(State(endpoint), Extension(peer)).await.is_err());
    }

    #[tokio::test]
    async fn a_body_that_never_comes_is_not_waited_for() {
        let config = cluster(&["127.0.0.2"]).remove(0);
        let endpoint = Arc::new(Endpoint {
            deadline: Duration::from_millis(50),
            ..Arc::into_inner(Endpoint::new(config, Vec::new(), PathBuf::new())).unwrap()
        });
        let peer = Peer {
            address: "127.0.0.9:1".parse().unwrap(),
            holder: None,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let router = endpoint.router(peer);
        tokio::spawn(async { axum::serve(listener, router).await });
        let head = "POST /v1/join HTTP/1.1\r\nHost: dev-1\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
        client.write_all(head.as_bytes()).await.unwrap();
        let mut said = String::new();
        let cut_off = client.read_to_string(&mut said);
        tokio::time::timeout(Duration::from_secs(60), cut_off)
            .await
            .expect("the connection stays open")
            .unwrap();
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    }

    #[test]
    fn other_masters_hear_of_data_from_its_first_start_on() {
        let config = cluster(&["127.0.0.2"]).remove(0);
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::new(config, Vec::new(), folder.path().to_owned());
        assert_eq!(endpoint.stage(), Stage::Empty);
        endpoint.set_record(Some(Record {
            version: RECORD_VERSION,
            generation: 1,
            mode: Mode::New,
            initial_cluster: Vec::new(),
            member_id: None,
            confirmed: false,
        }));
        assert_eq!(endpoint.stage(), Stage::Bootstrapping);
        std::fs::write(folder.path().join("member-1.started"), "3.5\n").unwrap();
        assert_eq!(endpoint.stage(), Stage::Started);
    }

    #[test]
    fn a_burst_is_let_in_and_a_flood_is_not() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start);
        let let_in = (0..1000).filter(|_| limit.take(start)).count();
        assert_eq!(let_in, JOIN_BURST as usize);
        assert!(limit.take(start + Duration::from_secs(1)));
    }
}
