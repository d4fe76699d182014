//! Clients over UDP.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;

use nix::sys::socket::{SockProtocol, SockType};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

use crate::resolver::answering::{Resolver, Step, Transport};
use crate::resolver::forward::Failure;

/// Questions that wait for upstreams at a time; more fail at once.
const WAITING_MAX: usize = 2048;
/// Most bytes of a question; one that is longer is cut, and so refused.
const BYTES_MAX: usize = 4096;

/// Opens the socket.
pub(crate) fn listen(at: SocketAddrV4) -> io::Result<UdpSocket> {
    let fd = super::open(at, SockType::Datagram, SockProtocol::Udp)?;
    UdpSocket::from_std(std::net::UdpSocket::from(fd))
}

/// Answers until the socket fails.
pub(crate) async fn serve(socket: UdpSocket, resolver: Arc<Resolver>) -> io::Result<()> {
    let socket = Arc::new(socket);
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    let mut buffer = vec![0; BYTES_MAX];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        let message = buffer.get(..length).unwrap_or_default();
        let reply = match resolver.take(message, Transport::Udp) {
            Step::Silence => continue,
            Step::Reply(reply) => reply,
            Step::Ask(asking) => match waiting.clone().try_acquire_owned() {
                Err(_) => resolver.without(&asking, Failure::NotReady),
                Ok(permit) => {
                    let (socket, resolver) = (socket.clone(), resolver.clone());
                    tokio::spawn(async move {
                        let reply = resolver.ask(&asking).await;
                        // A client that is gone, or does not read, asks again if it wants to.
                        let _ = socket.try_send_to(&reply, from);
                        drop(permit);
                    });
                    continue;
                }
            },
        };
        let _ = socket.try_send_to(&reply, from);
    }
}
