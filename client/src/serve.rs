//! A TLS server whose clients can cost it little: connections, in all and from one address, handshakes, headers and
//! idle time are bounded.
//!
//! Bodies are bounded by who reads them. One loop serves the node API and the masters' cluster endpoint.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::trust::Holder;

/// How long the last word to a client may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a server lets its clients cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections; more wait in the kernel's queue.
    pub connections: usize,
    /// Open connections from one address; more are closed at once, so that nobody alone takes all.
    pub connections_of_one: usize,
    /// Open connections from one network of IPv6, where one machine may take any address.
    pub connections_of_network: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a request's head may take, and how long a connection may idle.
    pub head: Duration,
    /// Most bytes of a request's head.
    pub head_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            connections_of_one: 32,
            connections_of_network: 64,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(15),
            head_bytes: 32 * 1024,
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where from.
    pub address: SocketAddr,
    /// Whom its verified certificate names; `None` where the server takes clients without one.
    pub holder: Option<Holder>,
}

/// Listens; where all addresses are meant and the kernel has no IPv6, on those of IPv4.
pub async fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(at).await {
        Err(error) if at.is_ipv6() && at.ip().is_unspecified() && has_no_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, at.port())).await
        }
        bound => bound,
    }
}

fn has_no_ipv6(error: &io::Error) -> bool {
    let missing = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
    Errno::from_io_error(error).is_some_and(|errno| missing.contains(&errno))
}

/// Where connections come from, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Address(IpAddr),
    /// A network of IPv6, /64.
    Network(u64),
}

/// How many connections are open from where.
#[derive(Debug, Default)]
struct Sources(Mutex<HashMap<Source, usize>>);

/// A connection that is counted until this is dropped.
#[derive(Debug)]
struct Counted {
    sources: Arc<Sources>,
    from: Vec<Source>,
}

impl Sources {
    /// Counts a connection; `None` where the most that are allowed are open from there.
    fn count(self: &Arc<Self>, address: SocketAddr, limits: &Limits) -> Option<Counted> {
        let ip = address.ip().to_canonical();
        let mut from = vec![(Source::Address(ip), limits.connections_of_one)];
        if let IpAddr::V6(ip) = ip {
            let [a, b, c, d, e, f, g, h, ..] = ip.octets();
            let network = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            from.push((Source::Network(network), limits.connections_of_network));
        }
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |(source, most): &(Source, usize)| open.get(source).unwrap_or(&0) >= most;
        if from.iter().any(is_full) {
            return None;
        }
        let from: Vec<Source> = from.into_iter().map(|(source, _)| source).collect();
        for source in &from {
            *open.entry(*source).or_default() += 1;
        }
        let sources = self.clone();
        Some(Counted { sources, from })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self
            .sources
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for source in &self.from {
            if let Some(count) = open.get_mut(source) {
                *count -= 1;
                if *count == 0 {
                    open.remove(source);
                }
            }
        }
    }
}

/// Serves until the task is dropped; `service` is asked once per connection.
pub async fn serve<F, S, B>(listener: TcpListener, tls: ServerConfig, limits: Limits, service: F)
where
    F: Fn(Peer) -> S + Clone + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let slots = Arc::new(Semaphore::new(limits.connections));
    let sources = Arc::new(Sources::default());
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                // Out of descriptors, or the client left: neither ends the server, and neither may spin it.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(counted) = sources.count(address, &limits) else {
            continue;
        };
        let (acceptor, service) = (acceptor.clone(), service.clone());
        tokio::spawn(async move {
            if let Some((stream, peer)) = greet(&acceptor, stream, address, limits.handshake).await
            {
                converse(stream, service(peer), &limits).await;
            }
            drop((slot, counted));
        });
    }
}

/// Answers what comes over one connection, until either end is done with it.
async fn converse<S, B>(stream: TlsStream<TcpStream>, service: S, limits: &Limits)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off is no news.
    if (&mut connection).await.is_err() {
        // One that has idled for too long is told that this is the end (TLS's close_notify), and not that it was cut off.
        let mut stream = connection.into_parts().io.into_inner();
        let _ = tokio::time::timeout(FAREWELL, stream.shutdown()).await;
    }
}

async fn greet(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    within: Duration,
) -> Option<(TlsStream<TcpStream>, Peer)> {
    // Without it small replies wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let stream = tokio::time::timeout(within, acceptor.accept(stream))
        .await
        .ok()?
        .ok()?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let holder = certificates.first().and_then(|end| Holder::of(end).ok());
    Some((stream, Peer { address, holder }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_its_share_and_no_more() {
        let sources = Arc::new(Sources::default());
        let limits = Limits {
            connections_of_one: 2,
            ..Limits::default()
        };
        let count = |address: &str| sources.count(address.parse().unwrap(), &limits);
        let first = count("10.77.0.11:1000");
        let second = count("[::ffff:10.77.0.11]:1001");
        assert!(first.is_some() && second.is_some());
        assert!(count("10.77.0.11:1002").is_none());
        assert!(count("10.77.0.12:1000").is_some());
        drop(first);
        assert!(count("10.77.0.11:1003").is_some());
        drop(second);
        assert!(sources.0.lock().unwrap().is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_what_it_gets() {
        let sources = Arc::new(Sources::default());
        let limits = Limits {
            connections_of_one: 2,
            connections_of_network: 3,
            ..Limits::default()
        };
        let count = |address: &str| sources.count(address.parse().unwrap(), &limits);
        let open: Vec<_> = (1..=3)
            .map(|host| count(&format!("[fd00::{host}:1]:1000")))
            .collect();
        assert!(open.iter().all(Option::is_some));
        assert!(count("[fd00::ffff:0:0:4]:1000").is_none());
        assert!(count("[fd00:0:0:1::1]:1000").is_some());
        drop(open);
        assert!(sources.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_no_missing_ipv6() {
        // Without IPv6 there is nothing to see.
        let Ok(taken) = TcpListener::bind("[::1]:0").await else {
            return;
        };
        let port = taken.local_addr().unwrap().port();
        let refused = listen(SocketAddr::from(([0u16; 8], port))).await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
