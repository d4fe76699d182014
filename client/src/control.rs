//! PID 1's native control socket (`spec_unit::control`), for async programs: one packet a message.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use spec_unit::control::{
    Answer, Envelope, MAX_PACKET, Reply, Request, ShutdownAction, UnitStatus, VERSION,
};
use tokio::net::UnixDatagram;

/// How long PID 1 may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most units that are listed.
const MAX_UNITS: usize = 10_000;

/// Why PID 1 did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket.
    #[error("PID 1's control socket: {0}")]
    Socket(#[from] io::Error),
    /// No answer in time.
    #[error("PID 1 did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// It refused, in its own words.
    #[error("{0}")]
    Refused(String),
    /// The answer is not of the protocol.
    #[error("PID 1's answer cannot be read: {0}")]
    Answer(String),
}

/// A connection to PID 1.
#[derive(Debug)]
pub struct Control {
    /// SEQPACKET; send(2) and recv(2) keep its packets apart as they do datagrams.
    socket: UnixDatagram,
    next_id: u64,
}

impl Control {
    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(io::Error::from)?;
        let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
        rustix::net::connect(&socket, &address).map_err(io::Error::from)?;
        let socket = UnixDatagram::from_std(socket.into())?;
        Ok(Self { socket, next_id: 1 })
    }

    /// Sends one request and waits for its answer.
    pub async fn call(&mut self, request: Request) -> Result<Reply, Error> {
        match tokio::time::timeout(TIMEOUT, self.exchange(request)).await {
            Ok(Ok(Reply::Error(message))) => Err(Error::Refused(message)),
            Ok(result) => result,
            Err(_) => Err(Error::Timeout),
        }
    }

    async fn exchange(&mut self, request: Request) -> Result<Reply, Error> {
        let id = self.next_id;
        self.next_id += 1;
        let packet = serde_json::to_vec(&Envelope {
            version: VERSION,
            id,
            request,
        })
        .map_err(|error| Error::Answer(error.to_string()))?;
        if packet.len() > MAX_PACKET {
            return Err(Error::Refused(format!(
                "the request has {} bytes, at most {MAX_PACKET}",
                packet.len()
            )));
        }
        self.socket.send(&packet).await?;
        loop {
            let answer = self.receive().await?;
            if answer.id == id && !matches!(answer.reply, Reply::Changed(_)) {
                return Ok(answer.reply);
            }
        }
    }

    async fn receive(&self) -> Result<Answer, Error> {
        let mut buffer = vec![0; MAX_PACKET];
        let length = self.socket.recv(&mut buffer).await?;
        let packet = buffer.get(..length).unwrap_or_default();
        if packet.is_empty() {
            return Err(Error::Socket(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(packet).map_err(|error| Error::Answer(error.to_string()))
    }

    /// All loaded units.
    pub async fn list(&mut self) -> Result<Vec<UnitStatus>, Error> {
        let mut all = Vec::new();
        let mut offset = 0;
        loop {
            match self.call(Request::List { offset }).await? {
                Reply::Units { units, next } => {
                    all.extend(units);
                    match next {
                        Some(next) if next > offset && all.len() < MAX_UNITS => offset = next,
                        _ => return Ok(all),
                    }
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// One unit.
    pub async fn show(&mut self, unit: &str) -> Result<UnitStatus, Error> {
        match self
            .call(Request::Show {
                unit: unit.to_owned(),
            })
            .await?
        {
            Reply::Unit(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// A request whose answer is only that it has begun.
    pub async fn order(&mut self, request: Request) -> Result<(), Error> {
        match self.call(request).await? {
            Reply::Ok => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Shuts the node down.
    pub async fn shutdown(&mut self, action: ShutdownAction) -> Result<(), Error> {
        self.order(Request::Shutdown { action }).await
    }
}

fn unexpected(reply: &Reply) -> Error {
    let text: String = format!("{reply:?}").chars().take(100).collect();
    Error::Answer(format!("not what was asked for: {text}"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::net::{RecvFlags, SendFlags};

    use super::*;

    /// A PID 1 that answers one connection from a script.
    fn scripted(path: &Path, replies: Vec<Reply>) -> std::thread::JoinHandle<Vec<Envelope>> {
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        std::thread::spawn(move || {
            let peer: OwnedFd = rustix::net::accept(&listener).unwrap();
            let mut asked = Vec::new();
            for reply in replies {
                let mut buffer = vec![0; MAX_PACKET];
                let (length, _) =
                    rustix::net::recv(&peer, buffer.as_mut_slice(), RecvFlags::empty()).unwrap();
                let envelope: Envelope = serde_json::from_slice(&buffer[..length]).unwrap();
                let answer = Answer {
                    version: VERSION,
                    id: envelope.id,
                    reply,
                };
                asked.push(envelope);
                rustix::net::send(
                    &peer,
                    &serde_json::to_vec(&answer).unwrap(),
                    SendFlags::empty(),
                )
                .unwrap();
            }
            asked
        })
    }

    fn unit(name: &str) -> UnitStatus {
        UnitStatus {
            name: name.to_owned(),
            ..UnitStatus::default()
        }
    }

    #[tokio::test]
    async fn a_long_list_is_fetched_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let pid1 = scripted(
            &path,
            vec![
                Reply::Units {
                    units: vec![unit("a.service")],
                    next: Some(1),
                },
                Reply::Units {
                    units: vec![unit("b.service")],
                    next: None,
                },
            ],
        );
        let units = Control::connect(&path).unwrap().list().await.unwrap();
        assert_eq!(units.len(), 2);
        assert_eq!(pid1.join().unwrap()[1].request, Request::List { offset: 1 });
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_pid_1s_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let pid1 = scripted(&path, vec![Reply::Error("no such unit".to_owned())]);
        let error = Control::connect(&path)
            .unwrap()
            .show("x.service")
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "no such unit");
        pid1.join().unwrap();
    }

    #[tokio::test]
    async fn a_closed_socket_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let pid1 = scripted(&path, Vec::new());
        let mut control = Control::connect(&path).unwrap();
        pid1.join().unwrap();
        assert!(matches!(control.list().await, Err(Error::Socket(_))));
    }
}
