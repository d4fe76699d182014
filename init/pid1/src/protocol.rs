//! The native control socket: who may ask, what they asked, and answers that never wait for a reader.
//!
//! The protocol itself is [`spec_unit::control`]. Who clients are [`peer`] knows, and what they may ask stands in
//! [`right`]. Clients (of each user, so that none takes another's place), packets and waiting answers are bounded; a
//! client that does not read is dropped.

mod peer;
mod right;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType, sockopt};
use serde::{Deserialize, Serialize};
use spec_unit::control::{Answer, Envelope, MAX_PACKET, MAX_WAITS, Reply, Request, VERSION};

use self::peer::Peer;
use self::right::{Rights, USERS};
use crate::event::{Events, Source};
use crate::sys;

/// Most clients at a time.
const MAX_CLIENTS: usize = 64;
/// Most clients of one user, and of root behind walls; other root may take whatever is free.
const MAX_OF_ONE_USER: usize = 16;
/// Places that only root can take.
const RESERVED_FOR_ROOT: usize = 16;
const _: () = assert!((USERS.len() + 1) * MAX_OF_ONE_USER + RESERVED_FOR_ROOT <= MAX_CLIENTS);
/// Most connections taken per turn, so that a flood of them takes turns with everything else.
const BATCH: usize = 16;
/// How long nobody is taken in when there are no descriptors left, unless a client leaves before.
const PAUSE: Duration = Duration::from_secs(2);
/// Most answers waiting for one client.
const MAX_WAITING: usize = 512;
/// Most bytes of answers waiting for one client.
const MAX_WAITING_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    peer: Peer,
    rights: &'static Rights,
    watching: bool,
    /// Requests that are answered once a unit is down: their numbers and its name.
    waits: Vec<(u64, String)>,
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
}

/// A client as the next image of PID 1 finds it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientRecord {
    /// Number of its connection.
    pub(crate) socket: RawFd,
    peer: Peer,
    watching: bool,
    waits: Vec<(u64, String)>,
    waiting: Vec<Vec<u8>>,
}

/// A request and who asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The client's number.
    pub(crate) client: u32,
    /// Its user.
    pub(crate) uid: u32,
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
    /// Until when nobody is taken in.
    paused: Option<Instant>,
    /// Descriptors that clients have sent for nothing.
    left: Vec<OwnedFd>,
}

impl Control {
    /// Makes the socket at a path. Everybody may connect; who may stay is decided then.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let socket = crate::notify::bind(path, SocketType::SEQPACKET, 0o666)?;
        rustix::net::listen(&socket, 64)?;
        Ok(Self::of(socket))
    }

    /// The same, of a socket that was made so.
    pub(crate) fn of(socket: OwnedFd) -> Self {
        Self {
            socket,
            clients: BTreeMap::new(),
            next: 0,
            paused: None,
            left: Vec::new(),
        }
    }

    /// The clients, for the next image of PID 1.
    pub(crate) fn records(&self) -> Vec<ClientRecord> {
        let clients = self.clients.values();
        clients
            .map(|client| ClientRecord {
                socket: client.socket.as_raw_fd(),
                peer: client.peer.clone(),
                watching: client.watching,
                waits: client.waits.clone(),
                waiting: client.waiting.iter().cloned().collect(),
            })
            .collect()
    }

    /// Takes a client of the last image in, which was admitted there.
    pub(crate) fn take_again(
        &mut self,
        events: &Events,
        record: ClientRecord,
        socket: OwnedFd,
        name_of: impl Fn(u32) -> Option<String>,
    ) {
        let Some(rights) = Rights::of(&record.peer, name_of) else {
            return;
        };
        self.next = self.next.wrapping_add(1);
        let number = self.next;
        if events.add(&socket, Source::Client(number)).is_err() {
            return;
        }
        let client = Client {
            socket,
            peer: record.peer,
            rights,
            watching: record.watching,
            waits: record.waits,
            waiting_bytes: record.waiting.iter().map(Vec::len).sum(),
            waiting: record.waiting.into(),
        };
        self.clients.insert(number, client);
        self.flush(events, number);
    }

    /// The descriptor to wait on for new clients.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes in some of the clients that wait; `name_of` tells a user's name, `unit_of` whose main process it is.
    pub(crate) fn accept(
        &mut self,
        events: &Events,
        name_of: impl Fn(u32) -> Option<String>,
        unit_of: impl Fn(i32) -> Option<String>,
    ) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _ in 0..BATCH {
            match rustix::net::accept_with(&self.socket, flags) {
                Ok(socket) => self.take_in(events, socket, &name_of, &unit_of),
                Err(Errno::AGAIN) => return,
                // That client is gone again.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(cause) => {
                    crate::warning!("control socket: {cause}; new clients wait");
                    return self.pause(events);
                }
            }
        }
    }

    fn take_in(
        &mut self,
        events: &Events,
        socket: OwnedFd,
        name_of: impl Fn(u32) -> Option<String>,
        unit_of: impl Fn(i32) -> Option<String>,
    ) {
        let Some(peer) = Peer::of(&socket, unit_of) else {
            return self.close(socket);
        };
        let rights = match self.admit(&peer, name_of) {
            Ok(rights) => rights,
            Err(message) => {
                let _ = send(&socket, &encode(0, Reply::Error(message)));
                return self.close(socket);
            }
        };
        self.next = self.next.wrapping_add(1);
        let number = self.next;
        if events.add(&socket, Source::Client(number)).is_ok() {
            let client = Client {
                socket,
                peer,
                rights,
                watching: false,
                waits: Vec::new(),
                waiting: VecDeque::new(),
                waiting_bytes: 0,
            };
            self.clients.insert(number, client);
        }
    }

    /// The rights of one more client like this, if it may have one.
    fn admit(
        &self,
        peer: &Peer,
        name_of: impl Fn(u32) -> Option<String>,
    ) -> Result<&'static Rights, String> {
        let rights = Rights::of(peer, name_of)
            .ok_or_else(|| format!("user {} may not use this socket", peer.uid))?;
        let is_like = |other: &Peer| (other.uid, other.is_walled) == (peer.uid, peer.is_walled);
        let (count, most) = if peer.uid == 0 && !peer.is_walled {
            (self.clients.len(), MAX_CLIENTS)
        } else {
            let like = self.clients.values().filter(|one| is_like(&one.peer));
            (like.count(), MAX_OF_ONE_USER)
        };
        if count >= most {
            return Err(format!("{most} clients already; try again later"));
        }
        Ok(rights)
    }

    /// Without a descriptor for it a client stays in the queue, and the socket ready: to go on listening would spin.
    pub(crate) fn pause(&mut self, events: &Events) {
        events.remove(&self.socket);
        self.paused = Instant::now().checked_add(PAUSE);
    }

    /// When a pause is over, if there is one: nothing else may happen until then.
    pub(crate) fn resumes_at(&self) -> Option<Instant> {
        self.paused
    }

    /// Ends a pause that has lasted long enough.
    pub(crate) fn end_pause(&mut self, events: &Events) {
        if self.paused.is_some_and(|until| until <= Instant::now()) {
            self.listen(events);
        }
    }

    fn listen(&mut self, events: &Events) {
        if self.paused.is_some() && events.add(&self.socket, Source::Control).is_ok() {
            self.paused = None;
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
            Ok(received) => {
                self.left.extend(received.fds);
                self.drop_client(events, number);
                return None;
            }
            Err(_) => {
                self.drop_client(events, number);
                return None;
            }
        };
        let (rights, uid) = (client.rights, client.peer.uid);
        let bytes = buffer.get(..received.length).unwrap_or_default();
        match decode(bytes, received.truncated, rights) {
            Ok(Envelope { id, request, .. }) => Some(Asked {
                client: number,
                uid,
                id,
                request,
                fds: received.fds,
            }),
            Err((id, message)) => {
                self.left.extend(received.fds);
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

    /// Notes a request that is answered once a unit is down.
    pub(crate) fn wait(&mut self, number: u32, id: u64, unit: &str) -> Result<(), String> {
        let Some(client) = self.clients.get_mut(&number) else {
            return Ok(());
        };
        if client.waits.len() >= MAX_WAITS {
            return Err(format!("{MAX_WAITS} waits already; use another connection"));
        }
        client.waits.push((id, unit.into()));
        Ok(())
    }

    /// All such requests: client, number and unit.
    pub(crate) fn waits(&self) -> impl Iterator<Item = (u32, u64, &str)> {
        self.clients.iter().flat_map(|(number, client)| {
            let waits = client.waits.iter();
            waits.map(|(id, unit)| (*number, *id, unit.as_str()))
        })
    }

    /// Answers one of them.
    pub(crate) fn end_wait(&mut self, events: &Events, number: u32, id: u64, reply: Reply) {
        if let Some(client) = self.clients.get_mut(&number)
            && let Some(place) = client.waits.iter().position(|(known, _)| *known == id)
        {
            client.waits.remove(place);
            self.answer(events, number, id, reply);
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
            // Its descriptor is free before the next client is looked for.
            self.close(client.socket);
            self.listen(events);
        }
    }

    /// Closes a connection. What descriptors wait in it are taken out before: to close them may take long.
    fn close(&mut self, socket: OwnedFd) {
        let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Read);
        // Then each packet has a sender, also one without bytes, and the end has none.
        let told = sockopt::set_socket_passcred(&socket, true).is_ok();
        while told
            && let Ok(received) = sys::message::receive(socket.as_fd(), &mut [0])
            && received.sender.is_some()
        {
            self.left.extend(received.fds);
        }
    }

    /// Descriptors that clients have sent for nothing, to be closed by whoever may wait.
    pub(crate) fn left(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.left)
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
fn decode(bytes: &[u8], truncated: bool, rights: &Rights) -> Result<Envelope, (u64, String)> {
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
    match rights.check(&envelope.request) {
        Ok(()) => Ok(envelope),
        Err(message) => Err((envelope.id, message)),
    }
}

#[cfg(test)]
mod tests;
