//! A resolver of another machine, and one exchange with it: over UDP, then over TCP where that is not enough, or over
//! TLS only.

mod stream;
mod udp;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};
use rustls::pki_types::ServerName;
use spec_config::Pem;
use spec_layout::address::RESOLVER;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use self::stream::Connection;
use self::udp::Heard;
use super::health::Health;
use super::lock;
use super::wire::{Answer, Asked, Question, RANDOM_BYTES};

/// Connections to one upstream at a time.
const CONNECTIONS_MAX: usize = 16;
/// Connections that wait for the next question.
const IDLE_MAX: usize = 4;
/// How long one waits (RFC 7766, section 6.2.3).
const IDLE: Duration = Duration::from_secs(10);

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The network, or TLS.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
    /// What came is no answer to the question.
    #[error("what it sends is no answer to the question")]
    Wrong,
}

/// A question and what is wanted with its answer.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// The question.
    pub question: Question,
    /// DNSSEC's records are wanted.
    pub dnssec_ok: bool,
    /// Signatures that do not hold are no failure.
    pub checking_disabled: bool,
}

/// A resolver of another machine.
pub(crate) struct Upstream {
    at: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    health: Mutex<Health>,
    connections: Semaphore,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("at", &self.at)
            .field("tls", &self.tls.as_ref().map(|(_, name)| name))
            .finish_non_exhaustive()
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.tls {
            None => write!(f, "{}", self.at),
            Some((_, name)) => write!(f, "{} ({})", self.at, name.to_str()),
        }
    }
}

impl Upstream {
    /// What TLS goes by; nothing where nobody is trusted.
    pub(crate) fn connector(roots: &[Pem]) -> Result<Option<TlsConnector>, String> {
        if roots.is_empty() {
            return Ok(None);
        }
        let roots: Vec<&str> = roots.iter().map(Pem::as_str).collect();
        let config = client::tls::named_client_config(&roots)
            .map_err(|error| format!("network.resolver.roots: {error}"))?;
        Ok(Some(TlsConnector::from(Arc::new(config))))
    }

    /// One of the config.
    pub(crate) fn new(
        upstream: &spec_config::Upstream,
        connector: Option<&TlsConnector>,
    ) -> Result<Self, String> {
        let at = upstream.socket();
        if at.ip().to_canonical() == RESOLVER {
            return Err(format!("upstream {at} is this resolver itself"));
        }
        let tls = match (&upstream.tls, connector) {
            (None, _) => None,
            (Some(name), None) => {
                return Err(format!("upstream {at} ({name}): no roots to trust it by"));
            }
            (Some(name), Some(connector)) => {
                let name = ServerName::try_from(name.to_string())
                    .map_err(|error| format!("upstream {at} ({name}): {error}"))?;
                Some((connector.clone(), name))
            }
        };
        Ok(Self {
            at,
            tls,
            health: Mutex::default(),
            connections: Semaphore::new(CONNECTIONS_MAX),
            idle: Mutex::default(),
        })
    }

    /// How it did of late.
    pub(crate) fn health(&self) -> Health {
        *lock(&self.health)
    }

    /// Whether it is asked over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Closes connections that have waited long enough.
    pub(crate) fn close_idle(&self, now: Instant) {
        lock(&self.idle).retain(|(_, since)| now.saturating_duration_since(*since) < IDLE);
    }

    /// Asks once, for so long, and keeps how it went.
    pub(crate) async fn ask(&self, wish: &Wish, patience: Duration) -> Result<Answer, Error> {
        let asked = self.exchange(wish);
        let outcome = tokio::time::timeout(patience, asked)
            .await
            .unwrap_or(Err(Error::Timeout));
        match &outcome {
            Ok(_) => {
                if lock(&self.health).answered() {
                    log::info!("{self} answers again");
                }
            }
            Err(error) => {
                if lock(&self.health).failed(Instant::now()) {
                    log::warn!("{self}: {error}; others are asked first for a while");
                }
            }
        }
        outcome
    }

    async fn exchange(&self, wish: &Wish) -> Result<Answer, Error> {
        let asked = Asked::new(
            &wish.question,
            wish.dnssec_ok,
            wish.checking_disabled,
            random()?,
        );
        if self.tls.is_some() {
            return self.over_connection(&asked).await;
        }
        let answer = match udp::ask(self.at, &asked).await? {
            Heard::Answer(answer) => answer,
            Heard::AskOverTcp => self.over_connection(&asked).await?,
        };
        Ok(answer.unauthenticated())
    }

    /// Asks over a connection that waits, or over a new one.
    async fn over_connection(&self, asked: &Asked) -> Result<Answer, Error> {
        let permit = self.connections.acquire().await;
        let _permit = permit.map_err(std::io::Error::other)?;
        while let Some(mut connection) = self.take_idle() {
            // The other end may have closed it meanwhile: that says nothing about the upstream.
            if let Ok(answer) = stream::ask(&mut connection, asked).await {
                self.put_idle(connection);
                return Ok(answer);
            }
        }
        let mut connection = stream::connect(self.at, self.tls.as_ref()).await?;
        let answer = stream::ask(&mut connection, asked).await?;
        self.put_idle(connection);
        Ok(answer)
    }

    fn take_idle(&self) -> Option<Connection> {
        self.close_idle(Instant::now());
        lock(&self.idle).pop().map(|(connection, _)| connection)
    }

    fn put_idle(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_MAX {
            idle.push((connection, Instant::now()));
        }
    }
}

/// What nobody can guess.
fn random() -> std::io::Result<[u8; RANDOM_BYTES]> {
    let mut bytes = [0; RANDOM_BYTES];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty())?;
    if filled < RANDOM_BYTES {
        return Err(std::io::Error::other("the kernel gives no random bytes"));
    }
    Ok(bytes)
}
