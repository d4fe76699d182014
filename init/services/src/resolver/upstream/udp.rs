//! One question over UDP, from a port of its own that the kernel draws.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use crate::resolver::wire::{Answer, Asked, Wrong, answer};

/// Most bytes of an answer; more than is asked for is not waited for.
const BYTES_MAX: usize = 4096;
/// So many messages that are not the answer look like guesses at it.
const STRAYS_MAX: usize = 32;

/// What came back.
pub(super) enum Heard {
    /// The answer.
    Answer(Answer),
    /// What says that it has to be asked over TCP, where nobody can guess.
    AskOverTcp,
}

/// Asks, and waits for as long as the caller does. The socket is connected: the kernel drops what others send.
pub(super) async fn ask(at: SocketAddr, asked: &Asked) -> io::Result<Heard> {
    let any: IpAddr = match at {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(at).await?;
    socket.send(&asked.message).await?;
    let mut buffer = vec![0; BYTES_MAX];
    for _ in 0..STRAYS_MAX {
        let length = socket.recv(&mut buffer).await?;
        match answer(buffer.get(..length).unwrap_or_default(), asked, true) {
            Ok(answer) => return Ok(Heard::Answer(answer)),
            Err(Wrong::Another) => {}
            Err(Wrong::Truncated | Wrong::Capitals | Wrong::Malformed) => break,
        }
    }
    Ok(Heard::AskOverTcp)
}
