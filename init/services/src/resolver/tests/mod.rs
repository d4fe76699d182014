//! The whole resolver over sockets of the loopback, with upstreams and clients that behave as they like.

mod clients;
mod fuzz;
mod settings;
mod tls;
mod upstreams;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use spec_config::{Domain, Upstream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::answering::Resolver;
use super::serve;
use super::settings::Settings;
use super::wire::tests::{answered, message, opt, record};
use super::wire::{flag, u16_at};
use super::zone;

/// An upstream of the test's own, over UDP and TCP at one port.
struct Fake {
    at: SocketAddr,
    udp: Arc<AtomicUsize>,
    tcp: Arc<AtomicUsize>,
}

/// What an upstream does with a datagram.
type OnUdp = fn(&[u8]) -> Vec<Vec<u8>>;
/// What it does with a message over TCP; nothing closes the connection.
type OnTcp = fn(&[u8]) -> Option<Vec<u8>>;

impl Fake {
    async fn start(on_udp: OnUdp, on_tcp: OnTcp) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(at).await.unwrap();
        let fake = Self {
            at,
            udp: Arc::default(),
            tcp: Arc::default(),
        };
        let count = fake.udp.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                for reply in on_udp(&buffer[..length]) {
                    socket.send_to(&reply, from).await.unwrap();
                }
            }
        });
        let count = fake.tcp.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let count = count.clone();
                tokio::spawn(async move {
                    while let Some(asked) = read_framed(&mut stream).await {
                        count.fetch_add(1, Ordering::SeqCst);
                        let Some(reply) = on_tcp(&asked) else { return };
                        write_framed(&mut stream, &reply).await;
                    }
                });
            }
        });
        fake
    }

    /// One that answers every question with this address.
    async fn good() -> Self {
        Self::start(|asked| vec![good(asked)], |asked| Some(good(asked))).await
    }

    /// One that never answers.
    async fn silent() -> Self {
        Self::start(|_| Vec::new(), |_| None).await
    }

    fn asked(&self) -> usize {
        self.udp.load(Ordering::SeqCst)
    }

    fn asked_over_tcp(&self) -> usize {
        self.tcp.load(Ordering::SeqCst)
    }

    fn config(&self) -> Upstream {
        Upstream {
            address: self.at.ip(),
            port: Some(self.at.port()),
            tls: None,
        }
    }
}

/// 10.0.0.1, for five minutes.
fn good(asked: &[u8]) -> Vec<u8> {
    address(asked, 300)
}

fn address(asked: &[u8], ttl: u32) -> Vec<u8> {
    answered(asked, 0, [&[record(1, ttl, &[10, 0, 0, 1])], &[], &[]])
}

/// An address that nobody should get to see.
fn poison(asked: &[u8]) -> Vec<u8> {
    answered(asked, 0, [&[record(1, 300, &[6, 6, 6, 6])], &[], &[]])
}

async fn read_framed(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let length = stream.read_u16().await.ok()?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

async fn write_framed(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    // A client that has gone is no fault of the upstream's.
    let _ = stream.write_all(&[&length, bytes].concat()).await;
    let _ = stream.flush().await;
}

fn config(upstreams: &[&Fake]) -> spec_config::Resolver {
    spec_config::Resolver {
        upstreams: upstreams.iter().map(|fake| fake.config()).collect(),
        ..spec_config::Resolver::default()
    }
}

/// A resolver with its sockets.
struct World {
    resolver: Arc<Resolver>,
    udp: SocketAddr,
    tcp: SocketAddr,
}

impl World {
    async fn new(config: &spec_config::Resolver) -> Self {
        let resolver = Resolver::new(Box::new(zone::tests::Fixed));
        resolver.set(Settings::new(1, config).unwrap());
        let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let udp = serve::udp::listen(any).unwrap();
        let tcp = serve::tcp::listen(any).unwrap();
        let world = Self {
            resolver: resolver.clone(),
            udp: udp.local_addr().unwrap(),
            tcp: tcp.local_addr().unwrap(),
        };
        tokio::spawn(serve::udp::serve(udp, resolver.clone()));
        tokio::spawn(serve::tcp::serve(tcp, resolver));
        world
    }

    async fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.udp).await.unwrap();
        socket
    }

    /// Asks for an address over UDP, as libc does.
    async fn ask(&self, name: &str) -> Vec<u8> {
        self.send(&message(
            7,
            flag::RECURSION_DESIRED,
            name,
            1,
            &opt(1232, 0, false),
        ))
        .await
    }

    async fn send(&self, message: &[u8]) -> Vec<u8> {
        let client = self.client().await;
        client.send(message).await.unwrap();
        receive(&client).await
    }

    async fn ask_over_tcp(&self, name: &str) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect(self.tcp).await.unwrap();
        let message = message(7, flag::RECURSION_DESIRED, name, 1, &[]);
        write_framed(&mut stream, &message).await;
        let soon = Duration::from_secs(10);
        tokio::time::timeout(soon, read_framed(&mut stream))
            .await
            .unwrap()
    }
}

async fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 4096];
    let length = tokio::time::timeout(Duration::from_secs(10), client.recv(&mut buffer))
        .await
        .expect("an answer")
        .unwrap();
    buffer.truncate(length);
    buffer
}

fn code(reply: &[u8]) -> u16 {
    u16_at(reply, 2).unwrap() & flag::RCODE
}

/// Whether a reply has the address of [`good`].
fn is_good(reply: &[u8]) -> bool {
    let good = reply.windows(6).any(|window| window == [0, 4, 10, 0, 0, 1]);
    let poisoned = reply.windows(4).any(|window| window == [6, 6, 6, 6]);
    code(reply) == 0 && good && !poisoned
}

/// The reason of a failure (RFC 8914), where the client has EDNS.
fn reason(reply: &[u8]) -> Option<u16> {
    let option = reply.len().checked_sub(6)?;
    (u16_at(reply, option)? == 15).then(|| u16_at(reply, option + 4))?
}

fn domain(name: &str, fake: &Fake) -> Domain {
    Domain {
        name: name.parse().unwrap(),
        upstreams: vec![fake.config()],
    }
}
