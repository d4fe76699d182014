//! The node API's own key and certificate.
//!
//! The key is made on the node and never leaves it. On a master its own intermediate signs; elsewhere a
//! master does, for the join token. What was signed is kept in `spec_layout::path::TRUST` and used again
//! while it verifies under today's roots and is not due for renewal.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use client::ca::{self, Authority};
use client::http::Http;
use client::key_file::{self, PUBLIC, SECRET};
use client::tls::{self, Server};
use client::trust::{Holder, Identity, Purpose, Root};
use spec_api::{JoinAnswer, JoinRequest};
use spec_config::{Master, NodeConfig, Pem};
use spec_layout::port;

/// First and longest pause between two rounds over the masters.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

const CERTIFICATE: &str = "node-api.crt";
const KEY: &str = "node-api.key";

/// A certificate chain and its key, PEM.
pub(super) struct Credentials {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// The server a client of this node's API wants to see.
pub(super) fn own_server(config: &NodeConfig) -> Server {
    Server {
        roots: pems(&config.node_api_roots),
        cluster_id: config.cluster_id.to_string(),
        purpose: Purpose::Node,
        name: config.hostname.to_string(),
    }
}

/// PEM texts of a trust store.
pub(super) fn pems(roots: &[Pem]) -> Vec<String> {
    roots.iter().map(Pem::to_string).collect()
}

/// What was kept, if clients still take it and it is not due for renewal.
pub(super) fn kept(folder: &Path, config: &NodeConfig) -> Option<Credentials> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let (certificate, key) = (read(CERTIFICATE)?, read(KEY)?);
    tls::verify(&certificate, &own_server(config)).ok()?;
    tls::certified_key(&certificate, &key).ok()?;
    let due = tls::renewal_time(&certificate).ok()?;
    (SystemTime::now() < due).then_some(Credentials { certificate, key })
}

/// Kept or new, after as many rounds over the masters as it takes; `waits` is told for whom it waits.
pub(super) async fn obtain(
    folder: &Path,
    config: &NodeConfig,
    waits: impl Fn(&str),
) -> Credentials {
    if let Some(kept) = kept(folder, config) {
        return kept;
    }
    let mut pause = PAUSE.0;
    loop {
        match renew(folder, config).await {
            Ok(credentials) => return credentials,
            Err(problem) => waits(&problem),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// A new key and certificate, kept. One round; the error says who did not sign and why.
pub(super) async fn renew(folder: &Path, config: &NodeConfig) -> Result<Credentials, String> {
    let name = config.hostname.as_str();
    let request = ca::request(name).map_err(|error| error.to_string())?;
    let certificate = match &config.issuer {
        Some(issuer) => {
            let authority = Authority::from_pem(
                Root::NodeApi,
                issuer.certificate.as_str(),
                issuer.key.expose(),
            );
            let holder = Holder::new(config.cluster_id.as_str(), Purpose::Node, name);
            let identity = Identity {
                holder,
                addresses: config.addresses.clone(),
            };
            authority
                .and_then(|authority| authority.sign_request(&request.request, &identity))
                .map_err(|error| format!("the own intermediate does not sign: {error}"))?
        }
        None => join(config, &request.request).await?,
    };
    tls::verify(&certificate, &own_server(config))
        .map_err(|error| format!("the new certificate would be refused by clients: {error}"))?;
    keep(folder, &certificate, &request.key).map_err(|error| {
        format!(
            "the new certificate cannot be kept in {}: {error}",
            folder.display()
        )
    })?;
    Ok(Credentials {
        certificate,
        key: request.key,
    })
}

fn keep(folder: &Path, certificate: &str, key: &str) -> io::Result<()> {
    key_file::write(&folder.join(KEY), key.as_bytes(), SECRET)?;
    key_file::write(&folder.join(CERTIFICATE), certificate.as_bytes(), PUBLIC)
}

/// Asks one master after the other.
async fn join(config: &NodeConfig, request: &str) -> Result<String, String> {
    let asked = JoinRequest {
        cluster_id: config.cluster_id.to_string(),
        name: config.hostname.to_string(),
        token: config.join_token.expose().to_owned(),
        node_api: request.to_owned(),
    };
    let mut refusals = Vec::new();
    for master in &config.masters {
        match join_at(config, master, &asked).await {
            Ok(certificate) => return Ok(certificate),
            Err(error) => refusals.push(error.to_string()),
        }
    }
    Err(format!(
        "no master signs the certificate: {}",
        refusals.join("; ")
    ))
}

async fn join_at(
    config: &NodeConfig,
    master: &Master,
    asked: &JoinRequest,
) -> Result<String, client::http::Error> {
    let server = Server {
        roots: pems(&config.cluster_roots),
        cluster_id: config.cluster_id.to_string(),
        purpose: Purpose::Master,
        name: master.name.to_string(),
    };
    let http = Http::new(
        SocketAddr::new(master.address, port::CLUSTER),
        &server,
        None,
    )?;
    let answer: JoinAnswer = http.post("/v1/join", asked).await?;
    Ok(answer.node_api)
}

#[cfg(test)]
pub(super) mod tests {
    use client::ca::Roots;
    use spec_config::{Issuer, Role, Secret};

    use super::*;

    pub(in super::super) const CLUSTER: &str = "00112233445566778899aabbccddeeff";

    /// The config of a master, or of an agent whose only master is nowhere.
    pub(in super::super) fn node_config(roots: &Roots, role: Role) -> NodeConfig {
        let issuer = (role == Role::Master).then(|| {
            let made = roots.intermediate(Root::NodeApi, "dev-1").unwrap();
            Issuer {
                certificate: made.certificate_pem().parse().unwrap(),
                key: Secret::new(made.key_pem()),
            }
        });
        let pem = |root| vec![roots.get(root).unwrap().certificate_pem().parse().unwrap()];
        NodeConfig {
            cluster_id: CLUSTER.parse().unwrap(),
            hostname: "dev-1".parse().unwrap(),
            roles: vec![role],
            addresses: vec!["127.0.0.1".parse().unwrap()],
            masters: vec![Master {
                name: "gone".parse().unwrap(),
                address: "127.0.0.9".parse().unwrap(),
            }],
            join_token: Secret::new("join-token-of-the-test"),
            node_api_roots: pem(Root::NodeApi),
            cluster_roots: pem(Root::Cluster),
            issuer,
        }
    }

    #[tokio::test]
    async fn a_master_signs_for_itself_and_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = node_config(&Roots::new(CLUSTER).unwrap(), Role::Master);
        let made = obtain(folder.path(), &config, |problem| panic!("{problem}")).await;
        let kept = kept(folder.path(), &config).unwrap();
        assert_eq!((kept.certificate, kept.key), (made.certificate, made.key));
    }

    #[tokio::test]
    async fn what_was_kept_is_not_used_under_other_roots_or_with_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let config = node_config(&Roots::new(CLUSTER).unwrap(), Role::Master);
        renew(folder.path(), &config).await.unwrap();
        let rotated = node_config(&Roots::new(CLUSTER).unwrap(), Role::Master);
        assert!(kept(folder.path(), &rotated).is_none());
        std::fs::write(folder.path().join(KEY), ca::request("dev-1").unwrap().key).unwrap();
        assert!(kept(folder.path(), &config).is_none());
    }

    #[tokio::test]
    async fn an_agent_says_which_master_did_not_answer() {
        tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let config = node_config(&Roots::new(CLUSTER).unwrap(), Role::Agent);
        let Err(problem) = renew(folder.path(), &config).await else {
            panic!("nobody signs")
        };
        assert!(problem.contains("gone (127.0.0.9:7444)"), "{problem}");
    }
}
