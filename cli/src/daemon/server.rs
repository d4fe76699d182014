//! The daemon's side of the control socket: threads that carry lines to and from its one event queue.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use super::protocol::{MAX_LINE, Reply, Request};
use crate::exit::{Context, Error};

/// A connection's number.
pub(super) type Id = u64;
/// The connection on standard input: of whoever started the daemon.
pub(super) const FIRST: Id = 0;
/// A client that does not read for this long is dropped.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most connections at a time.
const MOST: usize = 64;

/// What the daemon hears.
#[derive(Debug)]
pub(super) enum Event {
    /// A client asks.
    Request(Id, Request),
    /// A client says something that is no request.
    Malformed(Id, String),
    /// A client is gone.
    Closed(Id),
    /// The process was signalled.
    Signal(Signal),
}

type Clients = Arc<Mutex<BTreeMap<Id, Client>>>;

#[derive(Debug)]
struct Client {
    replies: Sender<String>,
    writer: JoinHandle<()>,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Server {
    sender: Sender<Event>,
    events: Receiver<Event>,
    clients: Clients,
}

impl Server {
    /// With the first connection, on standard input.
    pub(super) fn start() -> Result<Self, Error> {
        let (sender, events) = mpsc::channel();
        let server = Self {
            sender,
            events,
            clients: Clients::default(),
        };
        let stdin = std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .context("cannot take the first connection")?;
        add(
            FIRST,
            UnixStream::from(stdin),
            &server.sender,
            &server.clients,
        )?;
        Ok(server)
    }

    /// What is heard.
    pub(super) fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Accepts further connections, from now until the process ends.
    pub(super) fn listen(&mut self, listener: UnixListener) -> Result<(), Error> {
        let (sender, clients) = (self.sender.clone(), Arc::clone(&self.clients));
        let accept = move || {
            for (id, stream) in (FIRST + 1..).zip(listener.incoming()) {
                match stream {
                    Ok(stream) if lock(&clients).len() < MOST => {
                        let _ = add(id, stream, &sender, &clients);
                    }
                    // Too many, or out of descriptors: the client sees the connection closed.
                    Ok(_) => {}
                    Err(_) => thread::sleep(Duration::from_millis(100)),
                }
            }
        };
        thread::Builder::new()
            .name("accept".into())
            .spawn(accept)
            .context("cannot start a thread")
            .map(drop)
    }

    /// Signals become events.
    pub(super) fn watch_signals(&self, signals: SigSet) {
        let sender = self.sender.clone();
        thread::spawn(move || {
            while let Ok(signal) = signals.wait() {
                if sender.send(Event::Signal(signal)).is_err() {
                    break;
                }
            }
        });
    }

    /// Sends a reply, if the client is still there.
    pub(super) fn reply(&self, id: Id, reply: &Reply) {
        if let (Some(client), Ok(mut line)) =
            (lock(&self.clients).get(&id), serde_json::to_string(reply))
        {
            line.push('\n');
            let _ = client.replies.send(line);
        }
    }

    /// A client is gone.
    pub(super) fn forget(&self, id: Id) {
        lock(&self.clients).remove(&id);
    }

    /// Sends what is still to be sent, then closes.
    pub(super) fn finish(self) {
        let clients = std::mem::take(&mut *lock(&self.clients));
        for Client { replies, writer } in clients.into_values() {
            drop(replies);
            let _ = writer.join();
        }
    }
}

fn lock(clients: &Clients) -> std::sync::MutexGuard<'_, BTreeMap<Id, Client>> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add(id: Id, stream: UnixStream, sender: &Sender<Event>, clients: &Clients) -> Result<(), Error> {
    let what = "cannot serve a connection";
    stream.set_write_timeout(Some(PATIENCE)).context(what)?;
    let (replies, lines) = mpsc::channel::<String>();
    let mut output = stream.try_clone().context(what)?;
    let writer = thread::Builder::new()
        .spawn(move || {
            for line in lines {
                if output.write_all(line.as_bytes()).is_err() {
                    break;
                }
            }
            let _ = output.shutdown(std::net::Shutdown::Both);
        })
        .context(what)?;
    lock(clients).insert(id, Client { replies, writer });
    let sender = sender.clone();
    thread::Builder::new()
        .spawn(move || read(id, stream, &sender))
        .context(what)?;
    Ok(())
}

fn read(id: Id, stream: UnixStream, sender: &Sender<Event>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        let event = match (&mut reader).take(MAX_LINE).read_line(&mut line) {
            Ok(0) | Err(_) => Event::Closed(id),
            Ok(_) => match serde_json::from_str(&line) {
                Ok(request) => Event::Request(id, request),
                Err(error) => Event::Malformed(id, format!("not a request: {error}")),
            },
        };
        let over = matches!(event, Event::Closed(_));
        if sender.send(event).is_err() || over {
            return;
        }
    }
}
