//! The native control socket: who may ask, what they asked, and answers that never wait for a reader.
//!
//! The protocol itself is [`spec_unit::control`]. Clients are known by SO_PEERCRED: root, and the few users in
//! [`ALLOWED`] for what they need. Clients, packets and waiting answers are bounded; a client that does not read is
//! dropped.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{SocketFlags, SocketType, sockopt};
use spec_unit::control::{Answer, Envelope, MAX_PACKET, Reply, Request, VERSION};

use crate::event::{Events, Source};
use crate::sys;

/// Most clients at a time.
const MAX_CLIENTS: usize = 64;
/// Most answers waiting for one client.
const MAX_WAITING: usize = 512;
/// Most bytes of answers waiting for one client.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// What a client may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    /// Look and watch.
    Read,
    /// Also shut down.
    Shutdown,
    /// Also start, stop, restart and reload units.
    Units,
    /// Everything.
    All,
}

/// Users besides root who may connect, and what each may ask.
pub(crate) const ALLOWED: &[(&str, Right)] = &[
    // Forwards the power button.
    ("bedplate-device", Right::Shutdown),
    // The node API: an operator's requests.
    ("bedplate-node", Right::Units),
    // Starts etcd anew after its membership changed.
    ("bedplate-cluster", Right::Units),
];

/// The right that a request needs.
pub(crate) fn needed(request: &Request) -> Right {
    match request {
        Request::List { .. } | Request::Show { .. } | Request::Watch => Right::Read,
        Request::Shutdown { .. } => Right::Shutdown,
        Request::Start { .. }
        | Request::Stop { .. }
        | Request::Restart { .. }
        | Request::Reload { .. }
        | Request::ResetFailed { .. }
        | Request::Kill { .. } => Right::Units,
        Request::Run { .. } | Request::Collect { .. } => Right::All,
    }
}

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    right: Right,
    watching: bool,
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
}

/// A request and who asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The client's number.
    pub(crate) client: u32,
    /// The request's number.
    pub(crate) id: u64,
    /// What is asked.
    pub(crate) request: Request,
    /// Descriptors that came with it.
    pub(crate) fds: Vec<OwnedFd>,
}

/// The control socket and its clients.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    clients: BTreeMap<u32, Client>,
    next: u32,
}

impl Control {
    /// Makes the socket at a path. Everybody may connect; who may stay is decided then.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let socket = crate::notify::bind(path, SocketType::SEQPACKET, 0o666)?;
        rustix::net::listen(&socket, 64)?;
        Ok(Self {
            socket,
            clients: BTreeMap::new(),
            next: 0,
        })
    }

    /// The descriptor to wait on for new clients.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes in the clients that wait; `name_of` tells a user's name.
    pub(crate) fn accept(&mut self, events: &Events, name_of: impl Fn(u32) -> Option<String>) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = rustix::net::accept_with(&self.socket, flags) {
            let Ok(peer) = sockopt::socket_peercred(&socket) else {
                continue;
            };
            let uid = peer.uid.as_raw();
            let name = if uid == 0 { None } else { name_of(uid) };
            let allowed = ALLOWED
                .iter()
                .find(|(user, _)| name.as_deref() == Some(user))
                .map(|(_, right)| *right);
            let Some(right) = (if uid == 0 { Some(Right::All) } else { allowed }) else {
                let message = format!("user {uid} may not use this socket");
                let _ = send(&socket, &encode(0, Reply::Error(message)));
                continue;
            };
            if self.clients.len() >= MAX_CLIENTS {
                let message = format!("{MAX_CLIENTS} clients already; try again later");
                let _ = send(&socket, &encode(0, Reply::Error(message)));
                continue;
            }
            self.next = self.next.wrapping_add(1);
            let number = self.next;
            if events.add(&socket, Source::Client(number)).is_ok() {
                let client = Client {
                    socket,
                    right,
                    watching: false,
                    waiting: VecDeque::new(),
                    waiting_bytes: 0,
                };
                self.clients.insert(number, client);
            }
        }
    }

    /// Serves a client that is ready: sends what waits, takes the next request.
    pub(crate) fn serve(&mut self, events: &Events, number: u32) -> Option<Asked> {
        self.flush(events, number);
        let client = self.clients.get(&number)?;
        let mut buffer = vec![0; MAX_PACKET];
        let received = match sys::message::receive(client.socket.as_fd(), &mut buffer) {
            Ok(received) if received.length > 0 => received,
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return None,
            Ok(_) | Err(_) => {
                self.drop_client(events, number);
                return None;
            }
        };
        let right = client.right;
        let bytes = buffer.get(..received.length).unwrap_or_default();
        match decode(bytes, received.truncated, right) {
            Ok(Envelope { id, request, .. }) => Some(Asked {
                client: number,
                id,
                request,
                fds: received.fds,
            }),
            Err((id, message)) => {
                self.answer(events, number, id, Reply::Error(message));
                None
            }
        }
    }

    /// Sends a client every later change.
    pub(crate) fn watch(&mut self, number: u32) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.watching = true;
        }
    }

    /// Answers a client; one that does not read is dropped.
    pub(crate) fn answer(&mut self, events: &Events, number: u32, id: u64, reply: Reply) {
        self.queue(events, number, encode(id, reply));
    }

    /// Tells every watcher.
    pub(crate) fn announce(&mut self, events: &Events, reply: &Reply) {
        let watching = self.clients.iter().filter(|(_, client)| client.watching);
        let numbers: Vec<u32> = watching.map(|(number, _)| *number).collect();
        if !numbers.is_empty() {
            let packet = encode(0, reply.clone());
            numbers
                .iter()
                .for_each(|number| self.queue(events, *number, packet.clone()));
        }
    }

    fn queue(&mut self, events: &Events, number: u32, packet: Vec<u8>) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        client.waiting_bytes += packet.len();
        client.waiting.push_back(packet);
        if client.waiting.len() > MAX_WAITING || client.waiting_bytes > MAX_WAITING_BYTES {
            crate::warning!("control socket: client {number} does not read; dropped");
            self.drop_client(events, number);
            return;
        }
        self.flush(events, number);
    }

    fn flush(&mut self, events: &Events, number: u32) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        while let Some(packet) = client.waiting.front() {
            match send(&client.socket, packet) {
                Ok(()) => {
                    client.waiting_bytes = client.waiting_bytes.saturating_sub(packet.len());
                    client.waiting.pop_front();
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.drop_client(events, number);
                    return;
                }
            }
        }
        let wanted = !client.waiting.is_empty();
        let _ = events.writable(client.socket.as_fd(), Source::Client(number), wanted);
    }

    fn drop_client(&mut self, events: &Events, number: u32) {
        if let Some(client) = self.clients.remove(&number) {
            events.remove(&client.socket);
        }
    }
}

fn send(socket: &OwnedFd, packet: &[u8]) -> io::Result<()> {
    let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
    rustix::net::send(socket, packet, flags)?;
    Ok(())
}

fn encode(id: u64, reply: Reply) -> Vec<u8> {
    let answer = |reply| {
        serde_json::to_vec(&Answer {
            version: VERSION,
            id,
            reply,
        })
        .unwrap_or_default()
    };
    let packet = answer(reply);
    if packet.len() <= MAX_PACKET {
        return packet;
    }
    answer(Reply::Error(format!(
        "the answer is longer than {MAX_PACKET} bytes; ask for less"
    )))
}

/// Reads a request and checks the right to it; on refusal the request's number, if it could be read.
fn decode(bytes: &[u8], truncated: bool, right: Right) -> Result<Envelope, (u64, String)> {
    if truncated {
        return Err((
            0,
            format!("longer than {MAX_PACKET} bytes, or too many file descriptors"),
        ));
    }
    let envelope: Envelope =
        serde_json::from_slice(bytes).map_err(|cause| (0, format!("not a request: {cause}")))?;
    if envelope.version != VERSION {
        let message = format!("protocol version {}; this is {VERSION}", envelope.version);
        return Err((envelope.id, message));
    }
    if needed(&envelope.request) > right {
        return Err((envelope.id, "your user may not ask this".into()));
    }
    Ok(envelope)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spec_unit::control::UnitStatus;

    use super::*;

    fn request(request: Request) -> Vec<u8> {
        serde_json::to_vec(&Envelope {
            version: VERSION,
            id: 7,
            request,
        })
        .unwrap()
    }

    #[test]
    fn each_user_may_ask_what_it_needs_and_no_more() {
        let stop = request(Request::Stop {
            unit: "a.service".into(),
        });
        assert!(decode(&stop, false, Right::Units).is_ok());
        assert_eq!(decode(&stop, false, Right::Shutdown).unwrap_err().0, 7);
        assert!(
            decode(
                &request(Request::Collect { unit: "a".into() }),
                false,
                Right::Units
            )
            .is_err()
        );
        assert!(decode(&request(Request::Watch), false, Right::Read).is_ok());
    }

    #[test]
    fn hostile_packets_are_refused_with_a_reason() {
        assert!(
            decode(b"{", false, Right::All)
                .unwrap_err()
                .1
                .contains("not a request")
        );
        assert!(
            decode(b"{}", true, Right::All)
                .unwrap_err()
                .1
                .contains("longer")
        );
        let old = br#"{"version":99,"id":3,"request":"watch"}"#;
        assert_eq!(
            decode(old, false, Right::All).unwrap_err(),
            (3, "protocol version 99; this is 1".into())
        );
    }

    fn connect(path: &Path) -> OwnedFd {
        use rustix::net::{AddressFamily, SocketAddrUnix};
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        socket
    }

    fn receive(socket: &OwnedFd) -> Option<Answer> {
        let mut buffer = vec![0; MAX_PACKET];
        let received = sys::message::receive(socket.as_fd(), &mut buffer).ok()?;
        serde_json::from_slice(&buffer[..received.length]).ok()
    }

    /// Whoever runs the tests stands for a service's user.
    fn somebody(_: u32) -> Option<String> {
        Some("bedplate-node".into())
    }

    #[test]
    fn a_client_asks_and_is_answered_and_a_watcher_that_does_not_read_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let events = Events::open().unwrap();
        let mut control = Control::open(&path).unwrap();
        let client = connect(&path);
        control.accept(&events, somebody);
        let number = *control.clients.keys().next().unwrap();
        send(&client, &request(Request::Watch)).unwrap();
        let asked = control.serve(&events, number).unwrap();
        assert_eq!((asked.id, &asked.request), (7, &Request::Watch));
        control.answer(&events, number, asked.id, Reply::Ok);
        assert_eq!(receive(&client).unwrap().reply, Reply::Ok);
        control.watch(number);
        let status = UnitStatus {
            name: "a.service".into(),
            reason: Some("x".repeat(9000)),
            ..UnitStatus::default()
        };
        for _ in 0..2000 {
            control.announce(&events, &Reply::Changed(status.clone()));
        }
        assert!(control.clients.is_empty(), "it never read");
    }

    #[test]
    fn a_stranger_is_told_and_not_taken_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let events = Events::open().unwrap();
        let mut control = Control::open(&path).unwrap();
        let client = connect(&path);
        control.accept(&events, |_| Some("nobody".into()));
        if rustix::process::geteuid().is_root() {
            assert_eq!(control.clients.len(), 1);
        } else {
            assert!(control.clients.is_empty());
            assert!(matches!(receive(&client).unwrap().reply, Reply::Error(_)));
        }
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes, false, Right::All).is_err());
        }
    }
}
