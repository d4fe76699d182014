//! PID 1's native control socket (`spec_unit::control`), for async programs: one packet a message.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use spec_unit::control::{
    Answer, Envelope, ExitStatus, MAX_PACKET, Reply, Request, ShutdownAction, UnitStatus, VERSION,
};
use spec_unit::plan::{ExecPlan, MAX_FDS};
use tokio::io::Interest;
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
        self.call_with(request, &[]).await
    }

    /// The same, with descriptors, which stay open here.
    pub async fn call_with(
        &mut self,
        request: Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Reply, Error> {
        let exchange = self.exchange(request, fds);
        let answered = tokio::time::timeout(TIMEOUT, exchange).await;
        said(answered.unwrap_or(Err(Error::Timeout)))
    }

    async fn exchange(&mut self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<Reply, Error> {
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
        if fds.len() > MAX_FDS {
            let count = fds.len();
            return Err(Error::Refused(format!(
                "{count} file descriptors, at most {MAX_FDS}"
            )));
        }
        self.send(&packet, fds).await?;
        loop {
            let answer = self.receive().await?;
            if answer.id == id && !matches!(answer.reply, Reply::Changed(_)) {
                return Ok(answer.reply);
            }
        }
    }

    async fn send(&self, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let sent = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() {
                beside.push(SendAncillaryMessage::ScmRights(fds));
            }
            let packet = [io::IoSlice::new(packet)];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            rustix::net::sendmsg(&self.socket, &packet, &mut beside, flags)?;
            Ok(())
        };
        self.socket.async_io(Interest::WRITABLE, sent).await
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

    /// Starts a transient unit; the slots of its plan refer to `fds`.
    pub async fn run(
        &mut self,
        unit: &str,
        plan: ExecPlan,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        let request = Request::Run {
            unit: unit.to_owned(),
            plan: Box::new(plan),
        };
        match self.call_with(request, fds).await? {
            Reply::Ok => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until a unit is down, however long that takes. Dropped before, the connection is of no more use.
    pub async fn wait(&mut self, unit: &str) -> Result<UnitStatus, Error> {
        let request = Request::Wait {
            unit: unit.to_owned(),
        };
        match said(self.exchange(request, &[]).await)? {
            Reply::Unit(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// How a transient unit that is down has ended; it is forgotten. One that never ran is refused, and forgotten too.
    pub async fn collect(&mut self, unit: &str) -> Result<ExitStatus, Error> {
        let request = Request::Collect {
            unit: unit.to_owned(),
        };
        match self.call(request).await? {
            Reply::Exited(status) => Ok(status),
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

/// A refusal is an error.
fn said(answer: Result<Reply, Error>) -> Result<Reply, Error> {
    match answer {
        Ok(Reply::Error(message)) => Err(Error::Refused(message)),
        answer => answer,
    }
}

fn unexpected(reply: &Reply) -> Error {
    let text: String = format!("{reply:?}").chars().take(100).collect();
    Error::Answer(format!("not what was asked for: {text}"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::net::RecvFlags;

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
    async fn a_unit_is_run_with_descriptors_waited_for_and_collected() {
        use std::io::{Read as _, Write as _};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let pid1 = std::thread::spawn(move || {
            let peer: OwnedFd = rustix::net::accept(&listener).unwrap();
            let mut bytes = vec![0; MAX_PACKET];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut beside = rustix::net::RecvAncillaryBuffer::new(&mut space);
            let mut parts = [io::IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::empty();
            let received = rustix::net::recvmsg(&peer, &mut parts, &mut beside, flags).unwrap();
            let mut fds = Vec::new();
            for message in beside.drain() {
                if let rustix::net::RecvAncillaryMessage::ScmRights(rights) = message {
                    fds.extend(rights);
                }
            }
            let asked: Envelope = serde_json::from_slice(&bytes[..received.bytes]).unwrap();
            let text = |reply| {
                serde_json::to_vec(&Answer {
                    version: VERSION,
                    id: asked.id,
                    reply,
                })
                .unwrap()
            };
            rustix::net::send(&peer, &text(Reply::Ok), SendFlags::empty()).unwrap();
            fds
        });
        let (mut read, write) = std::io::pipe().unwrap();
        let mut control = Control::connect(&path).unwrap();
        let fds = [std::os::fd::AsFd::as_fd(&write)];
        control
            .run("a.service", ExecPlan::default(), &fds)
            .await
            .unwrap();
        let [fd] = <[OwnedFd; 1]>::try_from(pid1.join().unwrap()).unwrap();
        drop(write);
        let mut handed = std::fs::File::from(fd);
        handed.write_all(b"through").unwrap();
        drop(handed);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        let many = [std::os::fd::AsFd::as_fd(&read); MAX_FDS + 1];
        let refused = control.run("a.service", ExecPlan::default(), &many).await;
        assert!(refused.unwrap_err().to_string().contains("65 file"));
    }

    #[tokio::test]
    async fn the_end_of_a_unit_is_waited_for_and_collected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let replies = vec![
            Reply::Unit(unit("a.service")),
            Reply::Exited(ExitStatus::Exited(7)),
        ];
        let pid1 = scripted(&path, replies);
        let mut control = Control::connect(&path).unwrap();
        assert_eq!(control.wait("a.service").await.unwrap().name, "a.service");
        let ended = control.collect("a.service").await.unwrap();
        assert_eq!(ended, ExitStatus::Exited(7));
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
