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
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::trust::Holder;

/// What a server lets its clients cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections; more wait in the kernel's queue.
    pub connections: usize,
    /// Open connections from one address; more are closed at once, so that nobody alone takes all.
    pub connections_of_one: usize,
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
        Err(_) if at.is_ipv6() && at.ip().is_unspecified() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, at.port())).await
        }
        bound => bound,
    }
}

/// How many connections are open from where.
#[derive(Debug, Default)]
struct Sources(Mutex<HashMap<IpAddr, usize>>);

/// A connection that is counted until this is dropped.
#[derive(Debug)]
struct Counted {
    sources: Arc<Sources>,
    from: IpAddr,
}

impl Sources {
    /// Counts a connection; `None` where `most` are open from there.
    fn count(self: &Arc<Self>, address: SocketAddr, most: usize) -> Option<Counted> {
        let from = address.ip().to_canonical();
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(from).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
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
        if let Some(count) = open.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.from);
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
        let Some(counted) = sources.count(address, limits.connections_of_one) else {
            continue;
        };
        let (acceptor, service) = (acceptor.clone(), service.clone());
        tokio::spawn(async move {
            if let Some((stream, peer)) = greet(&acceptor, stream, address, limits.handshake).await
            {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(limits.head)
                    .max_buf_size(limits.head_bytes)
                    .serve_connection(TokioIo::new(stream), service(peer));
                // A client that breaks off is no news.
                let _ = connection.await;
            }
            drop((slot, counted));
        });
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
        let count = |address: &str| sources.count(address.parse().unwrap(), 2);
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
}
