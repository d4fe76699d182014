//! Kept connections, and what becomes of a request when one of them ends.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustls::{ServerConnection, StreamOwned};
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::node::Target;
use crate::node::blocking::NodeClient;
use crate::serve::{self, Limits};
use crate::tls::tests::{Node, OURS, node, root_pem, wanted};
use crate::trust::Root;

/// What a server does with a request.
#[derive(Clone, Copy)]
enum Does {
    Answer,
    /// And then it closes the connection without a word.
    AnswerAndLeave,
    /// It has read the request, and closes the connection.
    Leave,
}

/// A server of TLS that does with each request what `does` says of its number, from 0.
struct Moody {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
}

impl Moody {
    fn new(node: &Node, does: impl Fn(usize) -> Does + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(AtomicUsize::new(0));
        let (config, counted) = (Arc::new(node.server.clone()), heard.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let tls = ServerConnection::new(config.clone()).unwrap();
                let mut stream = StreamOwned::new(tls, stream.unwrap());
                while read_head(&mut stream) {
                    let does = does(counted.fetch_add(1, Ordering::SeqCst));
                    if !matches!(does, Does::Leave) {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]";
                        stream.write_all(answer).unwrap();
                    }
                    if !matches!(does, Does::Answer) {
                        break;
                    }
                }
            }
        });
        Self { address, heard }
    }

    fn client(&self, node: &Node) -> NodeClient {
        let admin = node.roots.admin("alice").unwrap();
        NodeClient::new(&Target {
            address: self.address,
            name: "dev-1".into(),
            cluster_id: OURS.into(),
            roots: root_pem(&node.roots, Root::NodeApi),
            certificate: admin.certificate,
            key: admin.key,
        })
        .unwrap()
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }
}

/// Reads the head of a request that has no body; `false` where the client has left.
fn read_head(stream: &mut impl std::io::Read) -> bool {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return false;
        }
        head.extend_from_slice(&byte);
    }
    true
}

#[test]
fn nothing_is_sent_on_a_connection_that_ended_between_two_requests() {
    let node = node(false);
    let server = Moody::new(&node, |_| Does::AnswerAndLeave);
    let client = server.client(&node);
    for number in 1..=5 {
        client.start("a.service").unwrap();
        assert_eq!(server.heard(), number);
        // The server leaves.
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_question_whose_connection_breaks_off_is_asked_again_once() {
    let node = node(false);
    let server = Moody::new(&node, |number| match number {
        1 | 3 | 4 => Does::Leave,
        _ => Does::Answer,
    });
    let client = server.client(&node);
    for heard in [1, 3] {
        assert!(client.units().unwrap().is_empty());
        assert_eq!(server.heard(), heard);
    }
    let twice = client.units().unwrap_err();
    assert!(matches!(twice, Error::Connect { .. }), "{twice}");
    assert_eq!(server.heard(), 5);
}

#[test]
fn what_changes_something_is_not_sent_twice() {
    let node = node(false);
    let server = Moody::new(&node, |number| match number {
        1 => Does::Leave,
        _ => Does::Answer,
    });
    let client = server.client(&node);
    client.start("a.service").unwrap();
    let broken = client.start("a.service").unwrap_err();
    assert!(matches!(broken, Error::Connect { .. }), "{broken}");
    assert_eq!(server.heard(), 2);
}

#[tokio::test]
async fn a_server_says_that_an_idle_connection_ends_and_its_clients_do_not_wait_for_that() {
    assert!(KEPT < Limits::default().head);
    let node = node(false);
    let limits = Limits {
        head: Duration::from_millis(200),
        ..Limits::default()
    };
    let listener = serve::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = node.server.clone();
    tokio::spawn(serve::serve(listener, config, limits, |_| {
        hyper::service::service_fn(|_| async {
            Ok::<_, std::convert::Infallible>(hyper::Response::new(String::new()))
        })
    }));
    let admin = node.roots.admin("alice").unwrap();
    let own = Some((admin.certificate.as_str(), admin.key.as_str()));
    let config = tls::client_config(own, &wanted(&node.roots, "dev-1")).unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = "127.0.0.1".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    // Without TLS's own end this is an error: anybody on the way could have cut the connection.
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
}
