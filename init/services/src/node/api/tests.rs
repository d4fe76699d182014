//! The API from outside: the table, and clients that should not get in.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::ca::Roots;
use client::node::{NodeClient, Target};
use client::tls::{ServerKey, install_provider};
use client::trust::{Holder, Identity, Purpose, Root};
use spec_config::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::node::identity::tests::{CLUSTER, node_config};
use crate::node::{identity, server};

/// A node API on a port of the loopback, with the roots it trusts.
struct Running {
    roots: Roots,
    address: SocketAddr,
}

async fn running() -> Running {
    install_provider();
    let roots = Roots::new(CLUSTER).unwrap();
    let config = Arc::new(node_config(&roots, Role::Master));
    let folder = tempfile::tempdir().unwrap();
    let own = identity::obtain(folder.path(), &config, |problem| panic!("{problem}")).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let key = ServerKey::new(&own.certificate, &own.key).unwrap();
    tokio::spawn(server::serve_api(listener, key, config));
    Running { roots, address }
}

impl Running {
    fn target(&self) -> Target {
        self.target_of(Purpose::Admin)
    }

    fn target_of(&self, purpose: Purpose) -> Target {
        let person = self.roots.person(purpose, "alice").unwrap();
        Target {
            address: self.address,
            name: "dev-1".to_owned(),
            cluster_id: CLUSTER.to_owned(),
            roots: vec![
                self.roots
                    .get(Root::NodeApi)
                    .unwrap()
                    .certificate_pem()
                    .to_owned(),
            ],
            certificate: person.certificate,
            key: person.key,
        }
    }

    /// A TLS connection as the operator, for requests that no client of ours would send.
    async fn raw(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        self.raw_of(Purpose::Admin).await
    }

    async fn raw_of(&self, purpose: Purpose) -> tokio_rustls::client::TlsStream<TcpStream> {
        let target = self.target_of(purpose);
        let server = client::tls::Server {
            roots: target.roots.clone(),
            cluster_id: CLUSTER.to_owned(),
            purpose: Purpose::Node,
            name: "dev-1".to_owned(),
        };
        let config =
            client::tls::client_config(Some((&target.certificate, &target.key)), &server).unwrap();
        let name = rustls::pki_types::ServerName::try_from("dev-1").unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap()
    }

    async fn answer(&self, request: &[u8]) -> String {
        self.answer_to(Purpose::Admin, request).await
    }

    async fn answer_to(&self, purpose: Purpose, request: &[u8]) -> String {
        let mut stream = self.raw_of(purpose).await;
        stream.write_all(request).await.unwrap();
        let mut answer = vec![0; 64 * 1024];
        let length = stream.read(&mut answer).await.unwrap_or(0);
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }
}

#[test]
fn the_document_has_every_route_and_every_answer_its_schema() {
    let document = serde_json::to_value(document::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let mut operations = 0;
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            assert!(
                operation["description"].is_string() || operation["summary"].is_string(),
                "{method} {path}"
            );
            assert!(
                operation["responses"]["default"].is_object(),
                "{method} {path}"
            );
        }
    }
    assert_eq!(operations, ROUTES.len());
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn every_route_of_the_document_is_routed() {
    let node = running().await;
    for route in ROUTES {
        let path = (route.path)().replace("{name}", "x.service");
        let method = if (route.methods)().contains(&utoipa::openapi::HttpMethod::Get) {
            "GET"
        } else {
            "POST"
        };
        let answer = node
            .answer(format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
            .await;
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        assert!(
            !answer.contains("there is no such path") && status != "405",
            "{method} {path}: {answer}"
        );
    }
}

#[tokio::test]
async fn each_route_is_for_whom_the_table_says() {
    let node = running().await;
    for purpose in [Purpose::Reader, Purpose::Operator, Purpose::Admin] {
        let access = Access::of(purpose).unwrap();
        for route in ROUTES {
            let path = (route.path)().replace("{name}", "x.service");
            let method = (route.methods)().remove(0);
            let method = serde_json::to_string(&method).unwrap();
            let method = method.trim_matches('"').to_uppercase();
            let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            let answer = node.answer_to(purpose, request.as_bytes()).await;
            let refused = answer.starts_with("HTTP/1.1 403");
            assert_eq!(
                refused,
                access < route.needs,
                "{purpose} {method} {path}: {answer}"
            );
            if refused {
                assert!(answer.contains("that of alice is of role"), "{answer}");
            }
        }
    }
}

#[tokio::test]
async fn whoever_changes_something_is_more_than_a_reader() {
    for route in ROUTES {
        let reads = (route.methods)().contains(&utoipa::openapi::HttpMethod::Get);
        assert_eq!(reads, route.needs == Access::Reader, "{}", (route.path)());
    }
}

#[tokio::test]
async fn an_operator_sees_the_node() {
    let node = running().await;
    let client = NodeClient::new(&node.target()).unwrap();
    let status = client.status().await.unwrap();
    assert!(!status.ready && !status.waiting.is_empty() && status.uptime_seconds > 0.0);
    // Nobody keeps a machine config here.
    let error = client.config().await.unwrap_err();
    assert_eq!(error.status(), Some(500));
    assert!(
        error.to_string().contains("bedplate-config.service"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_said_with_its_reason() {
    let node = running().await;
    let client = NodeClient::new(&node.target()).unwrap();
    let error = client.restart("no name").await.unwrap_err();
    assert_eq!(error.status(), Some(400));
    assert!(error.to_string().contains("not a unit name"), "{error}");
    if !Path::new(spec_layout::path::CONTROL_SOCKET).exists() {
        assert_eq!(client.units().await.unwrap_err().status(), Some(502));
    }
}

#[tokio::test]
async fn a_query_with_an_unknown_field_is_refused() {
    let node = running().await;
    let answer = node
        .answer(b"GET /v1/logs?tail=5 HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("tail"),
        "{answer}"
    );
}

#[tokio::test]
async fn foreign_and_wrong_certificates_do_not_get_in() {
    let node = running().await;
    let foreign = Roots::new(CLUSTER).unwrap().admin("mallory").unwrap();
    let peer = Identity {
        holder: Holder::new(CLUSTER, Purpose::EtcdClient, "dev-1"),
        addresses: Vec::new(),
    };
    let etcd = node
        .roots
        .get(Root::EtcdClient)
        .unwrap()
        .issue(&peer)
        .unwrap();
    for wrong in [foreign, etcd] {
        let target = Target {
            certificate: wrong.certificate,
            key: wrong.key,
            ..node.target()
        };
        assert!(NodeClient::new(&target).unwrap().status().await.is_err());
    }
}

#[tokio::test]
async fn a_node_of_another_name_is_not_taken_for_this_one() {
    let node = running().await;
    let target = Target {
        name: "dev-2".to_owned(),
        ..node.target()
    };
    assert!(NodeClient::new(&target).unwrap().status().await.is_err());
}

#[tokio::test]
async fn an_endless_head_is_cut_off() {
    let node = running().await;
    let mut stream = node.raw().await;
    let mut sent = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await;
    let line = format!("x: {}\r\n", "y".repeat(1000));
    for _ in 0..200 {
        if sent.is_err() {
            break;
        }
        sent = stream.write_all(line.as_bytes()).await;
    }
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    let refused = String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 431");
    assert!(
        sent.is_err() || refused || matches!(read, Ok(Err(_))),
        "{read:?}"
    );
}

#[tokio::test]
async fn a_large_body_costs_nothing() {
    let node = running().await;
    let head = b"POST /v1/units/x.service/start HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000000\r\n\r\n";
    let answer = node.answer(head).await;
    assert!(
        answer.starts_with("HTTP/1.1 5") || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
}

#[tokio::test]
async fn silent_clients_do_not_keep_others_out() {
    let node = running().await;
    // More than one address gets, from another address than the operator's.
    let mut silent = Vec::new();
    for _ in 0..50 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(node.address).await.unwrap());
    }
    assert!(
        NodeClient::new(&node.target())
            .unwrap()
            .status()
            .await
            .is_ok()
    );
}
