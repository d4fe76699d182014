//! Questions over TCP (RFC 7766) and over TLS (RFC 7858): each message behind its length, one at a time.

use std::io;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Error;
use crate::resolver::wire::{Answer, Asked, answer};

/// What bytes go over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to an upstream.
pub(super) type Connection = Box<dyn Stream>;

/// Connects; over TLS, the name of the other end is checked.
pub(super) async fn connect(
    at: SocketAddr,
    tls: Option<&(TlsConnector, ServerName<'static>)>,
) -> io::Result<Connection> {
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    Ok(match tls {
        None => Box::new(stream),
        Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
    })
}

/// Asks, and waits for as long as the caller does. After an error the connection is of no more use.
pub(super) async fn ask(connection: &mut Connection, asked: &Asked) -> Result<Answer, Error> {
    let length = u16::try_from(asked.message.len()).map_err(io::Error::other)?;
    let message = [&length.to_be_bytes(), asked.message.as_slice()].concat();
    connection.write_all(&message).await?;
    connection.flush().await?;
    let length = connection.read_u16().await?;
    let mut bytes = Vec::new();
    // Room is made as the bytes come, not as they are announced.
    let mut limited = connection.take(u64::from(length));
    limited.read_to_end(&mut bytes).await?;
    if bytes.len() < usize::from(length) {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    answer(&bytes, asked, false).map_err(|_| Error::Wrong)
}
