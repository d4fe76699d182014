//! Upstreams over TLS.

use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::resolver::wire::rcode;

/// An authority: its certificate in PEM, and what signs.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// An upstream over TLS that closes each connection after so many answers: where it is, and how many questions came
/// over each of its connections.
async fn start(acceptor: TlsAcceptor, answers: usize) -> (SocketAddr, Arc<Mutex<Vec<usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let counts: Arc<Mutex<Vec<usize>>> = Arc::default();
    let counted = counts.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, counts) = (acceptor.clone(), counted.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let own = {
                    let mut counts = counts.lock().unwrap();
                    counts.push(0);
                    counts.len() - 1
                };
                for _ in 0..answers {
                    let Some(asked) = read_framed(&mut stream).await else {
                        return;
                    };
                    counts.lock().unwrap()[own] += 1;
                    let reply = answered(
                        &asked,
                        flag::AUTHENTIC_DATA,
                        [&[record(1, 300, &[10, 0, 0, 1])], &[], &[]],
                    );
                    write_framed(&mut stream, &reply).await;
                }
            });
        }
    });
    (at, counts)
}

async fn world(at: SocketAddr, name: &str, root: &str) -> World {
    World::new(&spec_config::Resolver {
        upstreams: vec![Upstream {
            address: at.ip(),
            port: Some(at.port()),
            tls: Some(name.parse().unwrap()),
        }],
        roots: vec![root.parse().unwrap()],
        ..spec_config::Resolver::default()
    })
    .await
}

#[tokio::test]
async fn questions_share_a_connection_and_what_it_says_is_authentic() {
    let authority = Authority::new();
    let (at, counts) = start(authority.acceptor("dns.example"), 100).await;
    let world = world(at, "dns.example", &authority.pem).await;
    for name in ["a.example", "b.example", "c.example"] {
        let flags = flag::RECURSION_DESIRED | flag::AUTHENTIC_DATA;
        let reply = world.send(&message(7, flags, name, 1, &[])).await;
        assert!(is_good(&reply), "{name}");
        assert!(u16_at(&reply, 2).unwrap() & flag::AUTHENTIC_DATA != 0);
    }
    assert_eq!(*counts.lock().unwrap(), [3]);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_made_anew() {
    let authority = Authority::new();
    let (at, counts) = start(authority.acceptor("dns.example"), 1).await;
    let world = world(at, "dns.example", &authority.pem).await;
    for name in ["a.example", "b.example"] {
        assert!(is_good(&world.ask(name).await), "{name}");
    }
    assert_eq!(*counts.lock().unwrap(), [1, 1]);
    assert_eq!(world.resolver.counters.failed.get(), 0);
}

#[tokio::test]
async fn another_name_or_a_foreign_authority_is_asked_nothing() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let (at, counts) = start(authority.acceptor("dns.example"), 100).await;
    for (name, root) in [
        ("other.example", &authority.pem),
        ("dns.example", &foreign.pem),
    ] {
        let world = world(at, name, root).await;
        let reply = world.ask("a.example").await;
        assert_eq!(code(&reply), u16::from(rcode::SERVFAIL), "{name}");
    }
    let asked: usize = counts.lock().unwrap().iter().sum();
    assert_eq!(asked, 0);
}

#[tokio::test]
async fn one_that_speaks_no_tls_is_not_asked_in_the_clear() {
    let plain = Fake::good().await;
    let world = world(plain.at, "dns.example", &Authority::new().pem).await;
    assert_eq!(
        code(&world.ask("a.example").await),
        u16::from(rcode::SERVFAIL)
    );
    assert_eq!(plain.asked(), 0);
}
