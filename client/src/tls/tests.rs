//! Handshakes that succeed, and those that must not.

use std::sync::Arc;

use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::ca::{Authority, Credentials, Roots};
use crate::trust::{Identity, Root};

pub(crate) const OURS: &str = "00112233445566778899aabbccddeeff";
const THEIRS: &str = "ffeeddccbbaa99887766554433221100";

fn issue(authority: &Authority, cluster_id: &str, purpose: Purpose, name: &str) -> Credentials {
    let holder = Holder::new(cluster_id, purpose, name);
    authority
        .issue(&Identity {
            holder,
            addresses: vec!["127.0.0.1".parse().unwrap()],
        })
        .unwrap()
}

/// A node API whose certificate an intermediate signed.
pub(crate) struct Node {
    pub(crate) roots: Roots,
    pub(crate) server: ServerConfig,
}

pub(crate) fn root_pem(roots: &Roots, root: Root) -> Vec<String> {
    vec![roots.get(root).unwrap().certificate_pem().to_owned()]
}

pub(crate) fn node(anonymous: bool) -> Node {
    let roots = Roots::new(OURS).unwrap();
    let intermediate = roots.intermediate(Root::NodeApi, "dev-1").unwrap();
    let own = issue(&intermediate, OURS, Purpose::Node, "dev-1");
    let clients = Clients {
        roots: root_pem(&roots, Root::NodeApi),
        cluster_id: OURS.to_owned(),
        purposes: &[Purpose::Admin],
        anonymous,
    };
    let server = server_config(
        ServerKey::new(&own.certificate, &own.key).unwrap(),
        &clients,
    )
    .unwrap();
    Node { roots, server }
}

pub(crate) fn wanted(roots: &Roots, name: &str) -> Server {
    Server {
        roots: root_pem(roots, Root::NodeApi),
        cluster_id: OURS.to_owned(),
        purpose: Purpose::Node,
        name: name.to_owned(),
    }
}

/// Runs both ends in memory until they agree or one refuses.
fn handshake(client: ClientConfig, server: &ServerConfig) -> Result<(), String> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server.clone())).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            server.read_tls(&mut wire).unwrap();
            server
                .process_new_packets()
                .map_err(|error| format!("server: {error}"))?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client
                .process_new_packets()
                .map_err(|error| format!("client: {error}"))?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(())
}

fn as_client(node: &Node, own: Option<&Credentials>) -> Result<(), String> {
    let own = own.map(|own| (own.certificate.as_str(), own.key.as_str()));
    handshake(
        client_config(own, &wanted(&node.roots, "dev-1")).unwrap(),
        &node.server,
    )
}

#[test]
fn an_operator_reaches_a_node_by_its_name_wherever_it_is_forwarded() {
    let node = node(false);
    let admin = node.roots.admin("alice").unwrap();
    as_client(&node, Some(&admin)).unwrap();
}

#[test]
fn a_client_without_certificate_is_refused_unless_the_server_takes_such() {
    assert!(
        as_client(&node(false), None)
            .unwrap_err()
            .contains("peer sent no certificates")
    );
    as_client(&node(true), None).unwrap();
}

#[test]
fn a_foreign_operator_is_refused() {
    let node = node(false);
    let foreign = Roots::new(THEIRS).unwrap().admin("mallory").unwrap();
    assert!(
        as_client(&node, Some(&foreign))
            .unwrap_err()
            .contains("UnknownIssuer")
    );
}

#[test]
fn a_certificate_of_another_cluster_under_the_same_root_is_refused() {
    let node = node(false);
    let moved = issue(
        node.roots.get(Root::NodeApi).unwrap(),
        THEIRS,
        Purpose::Admin,
        "mallory",
    );
    assert!(
        as_client(&node, Some(&moved))
            .unwrap_err()
            .contains("ForeignCluster")
    );
}

#[test]
fn a_masters_intermediate_makes_no_operators() {
    let node = node(false);
    let stolen = node.roots.intermediate(Root::NodeApi, "dev-1").unwrap();
    let forged = issue(&stolen, OURS, Purpose::Admin, "mallory");
    let refused = as_client(&node, Some(&forged)).unwrap_err();
    assert!(
        refused.contains("does not allow extended key usage for client"),
        "{refused}"
    );
}

#[test]
fn another_roots_certificate_is_no_operators() {
    let node = node(false);
    let etcd = issue(
        node.roots.get(Root::EtcdClient).unwrap(),
        OURS,
        Purpose::EtcdClient,
        "dev-1",
    );
    assert!(
        as_client(&node, Some(&etcd))
            .unwrap_err()
            .contains("UnknownIssuer")
    );
}

#[test]
fn a_nodes_own_certificate_makes_it_no_client() {
    let node = node(false);
    let own = issue(
        node.roots.get(Root::NodeApi).unwrap(),
        OURS,
        Purpose::Node,
        "dev-2",
    );
    assert!(
        as_client(&node, Some(&own))
            .unwrap_err()
            .contains("server: ")
    );
}

#[test]
fn another_nodes_certificate_is_refused_by_the_client() {
    let node = node(true);
    let config = client_config(None, &wanted(&node.roots, "dev-2")).unwrap();
    assert!(
        handshake(config, &node.server)
            .unwrap_err()
            .contains("client: ")
    );
}

#[test]
fn an_expired_certificate_is_refused() {
    let node = node(false);
    let root = node.roots.get(Root::NodeApi).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    let uri = Holder::new(OURS, Purpose::Admin, "alice").uri();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.as_str().try_into().unwrap())];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let signer = rcgen::KeyPair::from_pem(&root.key_pem()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(root.certificate_pem(), signer).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    let expired = Credentials {
        certificate,
        key: key.serialize_pem(),
    };
    assert!(
        as_client(&node, Some(&expired))
            .unwrap_err()
            .contains("xpired")
    );
}

#[test]
fn roots_rotate_because_a_trust_store_is_a_list() {
    let node = node(true);
    let mut wanted = wanted(&node.roots, "dev-1");
    wanted.roots.insert(
        0,
        Roots::new(OURS)
            .unwrap()
            .get(Root::NodeApi)
            .unwrap()
            .certificate_pem()
            .to_owned(),
    );
    handshake(client_config(None, &wanted).unwrap(), &node.server).unwrap();
}

#[test]
fn a_server_certificate_is_replaced_for_new_connections() {
    let node = node(true);
    let intermediate = node.roots.intermediate(Root::NodeApi, "dev-1").unwrap();
    let old = issue(&intermediate, OURS, Purpose::Node, "old");
    let new = issue(&intermediate, OURS, Purpose::Node, "dev-1");
    let key = ServerKey::new(&old.certificate, &old.key).unwrap();
    assert!(key.replace(&old.certificate, &new.key).is_err());
    key.replace(&new.certificate, &new.key).unwrap();
    let clients = Clients {
        roots: root_pem(&node.roots, Root::NodeApi),
        cluster_id: OURS.to_owned(),
        purposes: &[Purpose::Admin],
        anonymous: true,
    };
    let server = server_config(key, &clients).unwrap();
    handshake(
        client_config(None, &wanted(&node.roots, "dev-1")).unwrap(),
        &server,
    )
    .unwrap();
}

#[test]
fn an_empty_or_broken_trust_store_is_refused() {
    assert!(matches!(trust_store::<&str>(&[]), Err(Error::NoRoots)));
    assert!(
        trust_store(&["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]).is_err()
    );
}

#[test]
fn a_certificate_is_renewed_in_the_last_third_of_its_life() {
    let roots = Roots::new(OURS).unwrap();
    let own = issue(
        roots.get(Root::NodeApi).unwrap(),
        OURS,
        Purpose::Node,
        "dev-1",
    );
    let days = renewal_time(&own.certificate)
        .unwrap()
        .duration_since(SystemTime::now())
        .unwrap()
        .as_secs()
        / 86400;
    assert!((59..=60).contains(&days), "{days}");
}

#[test]
fn a_kept_certificate_is_checked_before_it_is_used_again() {
    let roots = Roots::new(OURS).unwrap();
    let intermediate = roots.intermediate(Root::NodeApi, "dev-1").unwrap();
    let own = issue(&intermediate, OURS, Purpose::Node, "dev-1");
    verify(&own.certificate, &wanted(&roots, "dev-1")).unwrap();
    assert!(verify(&own.certificate, &wanted(&roots, "dev-2")).is_err());
    assert!(
        verify(
            &own.certificate,
            &wanted(&Roots::new(OURS).unwrap(), "dev-1")
        )
        .is_err()
    );
    assert!(verify("", &wanted(&roots, "dev-1")).is_err());
}
