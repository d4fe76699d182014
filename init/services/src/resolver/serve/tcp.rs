//! Clients over TCP (RFC 7766): so many connections, each with one question at a time.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{Backlog, SockProtocol, SockType, listen as start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::resolver::answering::{Resolver, Step, Transport};

/// Connections at a time; others wait to be accepted.
pub(crate) const CONNECTIONS_MAX: usize = 64;
/// How long a connection may do nothing, and how long while many wait (RFC 7766, section 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
const IDLE_CROWDED: Duration = Duration::from_secs(1);
/// How long a message may take to come or to go.
const MESSAGE: Duration = Duration::from_secs(2);
/// Most bytes of a question.
const BYTES_MAX: u16 = 4096;
/// A pause where no connection can be accepted, for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Opens the socket.
pub(crate) fn listen(at: SocketAddrV4) -> io::Result<TcpListener> {
    let fd = super::open(at, SockType::Stream, SockProtocol::Tcp)?;
    start(&fd.as_fd(), Backlog::new(128)?)?;
    TcpListener::from_std(std::net::TcpListener::from(fd))
}

/// Answers for ever.
pub(crate) async fn serve(listener: TcpListener, resolver: Arc<Resolver>) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = room
            .clone()
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        match listener.accept().await {
            Err(error) => {
                log::debug!("no connection is accepted: {error}");
                tokio::time::sleep(PAUSE).await;
            }
            Ok((stream, _)) => {
                let (resolver, room) = (resolver.clone(), room.clone());
                tokio::spawn(async move {
                    let ended = answer(stream, &resolver, &room).await;
                    if let Err(error) = ended {
                        log::debug!("a client's connection: {error}");
                    }
                    drop(permit);
                });
            }
        }
    }
}

/// Answers one question after the other until the client ends, or is too slow.
async fn answer(
    mut stream: TcpStream,
    resolver: &Arc<Resolver>,
    room: &Semaphore,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let crowded = room.available_permits() < CONNECTIONS_MAX / 2;
        let idle = if crowded { IDLE_CROWDED } else { IDLE };
        let length = timeout(idle, stream.read_u16()).await??;
        if length > BYTES_MAX {
            return Err(io::Error::other(format!("a question of {length} bytes")));
        }
        let mut message = vec![0; usize::from(length)];
        timeout(MESSAGE, stream.read_exact(&mut message)).await??;
        let reply = match resolver.take(&message, Transport::Tcp) {
            Step::Silence => return Ok(()),
            Step::Reply(reply) => reply,
            Step::Ask(asking) => resolver.ask(&asking).await,
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes(), reply.as_slice()].concat();
        timeout(MESSAGE, stream.write_all(&framed)).await??;
    }
}
