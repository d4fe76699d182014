//! The sockets of one DHCP client.
//!
//! While it waits for an answer that cannot be addressed to it yet, it listens on the link with a packet socket; while
//! it renews, on UDP; while it only has a lease, on nothing.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::network::dhcp::frame::{self, CLIENT_PORT, SERVER_PORT};
use crate::network::dhcp::lease::Lease;
use crate::network::dhcp::machine::{Action, Client, State};
use crate::network::dhcp::packet::{FromServer, MESSAGE_MAX};

const BROADCAST: [u8; 6] = [0xff; 6];
/// Wait after a socket error.
const ERROR_WAIT: Duration = Duration::from_secs(2);
/// tokio's clock stops while the machine sleeps: look at the true one now and then.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// The link a client works for.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    /// Interface index.
    pub index: u32,
    /// Interface name, for messages.
    pub name: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// What to call ourselves.
    pub hostname: Option<String>,
    /// The lease from before.
    pub lease: Option<Lease>,
}

/// What a client tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// There is a lease.
    Bound(u32, Lease),
    /// There is none any more.
    Lost(u32, String),
}

/// CLOCK_BOOTTIME.
pub(crate) fn boottime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        time.tv_sec.max(0) as u64,
        time.tv_nsec.clamp(0, 999_999_999) as u32,
    )
}

/// Runs a client until it is aborted.
pub(crate) async fn run(port: Port, events: mpsc::Sender<Event>) {
    let client = Client::new(
        port.mac,
        port.hostname.clone(),
        port.lease.clone(),
        seed(&port),
        boottime(),
    );
    let mut worker = Worker {
        port,
        client,
        events,
        link: None,
        udp: None,
        buffer: vec![0; MESSAGE_MAX + 128],
    };
    loop {
        if let Err(error) = worker.turn().await {
            log::warn!("{}: DHCP: {error}", worker.port.name);
            worker.link = None;
            worker.udp = None;
            tokio::time::sleep(ERROR_WAIT).await;
        }
    }
}

struct Worker {
    port: Port,
    client: Client,
    events: mpsc::Sender<Event>,
    link: Option<AsyncFd<OwnedFd>>,
    udp: Option<UdpSocket>,
    buffer: Vec<u8>,
}

impl Worker {
    /// Waits for a message or the deadline, and does what follows.
    async fn turn(&mut self) -> io::Result<()> {
        self.open_sockets().await?;
        let wait = self
            .client
            .deadline()
            .saturating_sub(boottime())
            .min(SLEEP_MAX);
        let received =
            tokio::time::timeout(wait, receive(&self.link, &self.udp, &mut self.buffer)).await;
        let actions = match received {
            Ok(received) => {
                let (length, on_link) = received?;
                let packet = self.buffer.get(..length).unwrap_or_default();
                let payload = if on_link {
                    frame::payload(packet)
                } else {
                    Some(packet)
                };
                match payload.map(FromServer::parse) {
                    Some(Ok(message)) => self.client.on_message(&message, boottime()),
                    Some(Err(why)) => {
                        log::debug!("{}: a DHCP message is passed over: {why}", self.port.name);
                        Vec::new()
                    }
                    None => Vec::new(),
                }
            }
            Err(_) => self.client.on_time(boottime()),
        };
        for action in actions {
            self.act(action).await?;
        }
        Ok(())
    }

    async fn open_sockets(&mut self) -> io::Result<()> {
        if !self.client.listens_on_link() {
            self.link = None;
        } else if self.link.is_none() {
            self.link = Some(crate::sys::packet::open_ipv4(self.port.index)?);
        }
        match self.client.state() {
            State::Renewing(lease) if self.udp.is_none() => {
                self.udp =
                    Some(UdpSocket::bind(SocketAddrV4::new(lease.address, CLIENT_PORT)).await?);
            }
            State::Renewing(_) => {}
            _ => self.udp = None,
        }
        Ok(())
    }

    async fn act(&mut self, action: Action) -> io::Result<()> {
        match action {
            Action::Broadcast(message) => {
                self.open_sockets().await?;
                if let Some(link) = &self.link {
                    let packet = frame::broadcast(&message.encode());
                    crate::sys::packet::send_ipv4(
                        link.get_ref(),
                        self.port.index,
                        BROADCAST,
                        &packet,
                    )?;
                }
            }
            Action::Unicast(message, server) => {
                self.open_sockets().await?;
                if let Some(udp) = &self.udp {
                    udp.send_to(&message.encode(), SocketAddrV4::new(server, SERVER_PORT))
                        .await?;
                }
            }
            Action::Bound(lease) => self.tell(Event::Bound(self.port.index, lease)).await,
            Action::Lost(why) => self.tell(Event::Lost(self.port.index, why)).await,
        }
        Ok(())
    }

    async fn tell(&self, event: Event) {
        // A closed channel means that the service ends, and this task with it.
        let _ = self.events.send(event).await;
    }
}

/// The next packet, and whether it came with its IP header.
async fn receive(
    link: &Option<AsyncFd<OwnedFd>>,
    udp: &Option<UdpSocket>,
    buffer: &mut [u8],
) -> io::Result<(usize, bool)> {
    match (link, udp) {
        (Some(link), _) => loop {
            let mut ready = link.readable().await?;
            let received = ready
                .try_io(|socket| Ok(recv(socket.get_ref(), &mut *buffer, RecvFlags::DONTWAIT)?.1));
            if let Ok(length) = received {
                return Ok((length?, true));
            }
        },
        (None, Some(udp)) => Ok((udp.recv(buffer).await?, false)),
        (None, None) => std::future::pending().await,
    }
}

/// The first transaction id: random, or at least not that of the machine beside.
fn seed(port: &Port) -> u32 {
    let mut bytes = [0; 4];
    let random = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
    match random {
        Ok(()) => u32::from_ne_bytes(bytes),
        Err(_) => port
            .mac
            .iter()
            .fold(boottime().subsec_nanos(), |sum, byte| {
                sum.rotate_left(5) ^ u32::from(*byte)
            }),
    }
}
