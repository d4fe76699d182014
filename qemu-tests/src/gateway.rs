//! A host in the LAN that lets this machine in: loopback ports forwarded to addresses behind the switch.
//!
//! It is a TCP/IP stack of its own (smoltcp) on a switch port, so it needs no privilege and feels every
//! fault of the LAN. It answers ARP and ping at its address. Data waits where TCP waits: when one side
//! does not read, the other is not read from. Each side's end of stream reaches the other side alone,
//! so half-closed connections work; a reset becomes a reset.

use crate::{
    error::{Error, Result},
    frame::{Frame, Input, Output},
    switch::{PortId, Switch},
    worker::{Shared, Worker},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::{
    iface::{Config, Interface, PollResult, SocketHandle, SocketSet},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp,
    time::{Duration as NetDuration, Instant as NetInstant},
    wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr},
};
use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Connections at once.
const MAX_FLOWS: usize = 512;
/// Bytes buffered for each direction of a connection.
const BUFFER: usize = 64 << 10;
/// A connection whose far end says nothing for this long, asked or unasked, is given up.
const SILENCE: NetDuration = NetDuration::from_secs(30);
/// How often a quiet far end is asked whether it is still there.
const KEEP_ALIVE: NetDuration = NetDuration::from_secs(10);
/// First port of the range connections come from (RFC 6335).
const FIRST_PORT: u16 = 49_152;
/// The gateway's hardware address.
const ADDRESS: EthernetAddress = EthernetAddress([0x52, 0x54, 0x00, 0x77, 0x00, 0x01]);
/// Ethernet header and 1500 bytes.
const MTU: usize = 1514;

/// A gateway; it ends, and its connections with it, with this handle.
#[derive(Debug)]
pub struct Gateway {
    port: PortId,
    worker: Worker<Control>,
}

/// What the handle tells the thread.
#[derive(Debug, Default)]
struct Control {
    new: Vec<Forward>,
}

#[derive(Debug)]
struct Forward {
    listener: TcpListener,
    to: SocketAddrV4,
}

impl Gateway {
    /// Plugs a gateway with this address and prefix length into the switch.
    pub fn start(switch: &Switch, address: Ipv4Addr, prefix: u8) -> Result<Gateway> {
        let (port, stream) = switch.attach()?;
        stream
            .set_nonblocking(true)
            .map_err(Error::doing("set up the gateway's port"))?;
        let worker = Worker::start("gateway", move |shared| {
            Router::new(shared, stream, address, prefix).run();
        })?;
        Ok(Gateway { port, worker })
    }

    /// Its port on the switch.
    pub fn port(&self) -> PortId {
        self.port
    }

    /// Forwards 127.0.0.1:`port` (0: any free one) to an address in the LAN; returns the port.
    pub fn forward(&self, port: u16, to: SocketAddrV4) -> Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(Error::doing(format!("listen on 127.0.0.1:{port}")))?;
        let address = listener
            .local_addr()
            .map_err(Error::doing("ask for a port"))?;
        self.worker.control().new.push(Forward { listener, to });
        self.worker.wake();
        Ok(address.port())
    }
}

/// The switch port as smoltcp sees it.
struct Wire {
    stream: UnixStream,
    input: Input,
    received: VecDeque<Frame>,
    output: Output,
}

struct Received(Frame);
struct Send<'a>(&'a mut Output);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0.data())
    }
}

impl TxToken for Send<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut data = vec![0; length];
        let result = f(&mut data);
        if let Some(frame) = Frame::new(&data) {
            self.0.push(frame);
        }
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Send<'a>;

    fn receive(&mut self, _: NetInstant) -> Option<(Received, Send<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Send(&mut self.output)))
    }

    fn transmit(&mut self, _: NetInstant) -> Option<Send<'_>> {
        Some(Send(&mut self.output))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

/// One forwarded connection.
struct Flow {
    host: TcpStream,
    socket: SocketHandle,
    /// The host will send no more, and the LAN was told.
    host_ended: bool,
    /// The LAN will send no more, and the host was told.
    lan_ended: bool,
}

/// The gateway's thread.
struct Router {
    shared: Arc<Shared<Control>>,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    forwards: Vec<Forward>,
    flows: Vec<Flow>,
    next_port: u16,
}

impl Router {
    fn new(
        shared: Arc<Shared<Control>>,
        stream: UnixStream,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Router {
        let mut wire = Wire {
            stream,
            input: Input::default(),
            received: VecDeque::new(),
            output: Output::default(),
        };
        // Another start, other ports and sequence numbers: nodes may still hold connections of the last one.
        let seed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos() as u64;
        let mut config = Config::new(HardwareAddress::Ethernet(ADDRESS));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, NetInstant::now());
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), prefix));
        });
        Router {
            shared,
            wire,
            interface,
            sockets: SocketSet::new(Vec::new()),
            forwards: Vec::new(),
            flows: Vec::new(),
            next_port: FIRST_PORT + (seed / 1000 % u64::from(u16::MAX - FIRST_PORT)) as u16,
        }
    }

    fn run(mut self) {
        loop {
            if self.shared.ends() {
                return;
            }
            self.forwards.append(&mut self.shared.control().new);
            self.wait();
            if self.exchange().is_err() {
                // The switch has gone; there is no LAN any more.
                return;
            }
            self.accept();
            loop {
                let polled =
                    self.interface
                        .poll(NetInstant::now(), &mut self.wire, &mut self.sockets);
                let pumped = self.pump();
                if polled == PollResult::None && !pumped {
                    break;
                }
            }
            if self.exchange().is_err() {
                return;
            }
        }
    }

    fn wait(&mut self) {
        let delay = self.interface.poll_delay(NetInstant::now(), &self.sockets);
        let timeout = delay.map(|delay| Timespec {
            tv_sec: delay.secs() as i64,
            tv_nsec: i64::from(delay.micros() as u32 % 1_000_000) * 1000,
        });
        let wire_events = match self.wire.output.is_empty() {
            true => PollFlags::IN,
            false => PollFlags::IN | PollFlags::OUT,
        };
        let mut fds = vec![
            self.shared.woken(),
            PollFd::new(&self.wire.stream, wire_events),
        ];
        fds.extend(
            self.forwards
                .iter()
                .map(|forward| PollFd::new(&forward.listener, PollFlags::IN)),
        );
        for flow in &self.flows {
            let socket = self.sockets.get::<tcp::Socket>(flow.socket);
            let mut events = PollFlags::empty();
            if socket.can_send() && !flow.host_ended {
                events |= PollFlags::IN;
            }
            if socket.can_recv() {
                events |= PollFlags::OUT;
            }
            // A host whose connection has ended is always "ready": only those we wait for are asked.
            if !events.is_empty() {
                fds.push(PollFd::from_borrowed_fd(flow.host.as_fd(), events));
            }
        }
        let woken = poll(&mut fds, timeout.as_ref()).is_ok() && !fds[0].revents().is_empty();
        drop(fds);
        if woken {
            self.shared.rest();
        }
    }

    fn exchange(&mut self) -> std::io::Result<()> {
        let wire = &mut self.wire;
        wire.output.write(&mut wire.stream)?;
        wire.input.read(&mut wire.stream, &mut wire.received)
    }

    fn accept(&mut self) {
        for forward in &self.forwards {
            while let Ok((host, _)) = forward.listener.accept() {
                if self.flows.len() >= MAX_FLOWS || host.set_nonblocking(true).is_err() {
                    continue;
                }
                let _ = host.set_nodelay(true);
                let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
                let mut socket = tcp::Socket::new(buffer(), buffer());
                socket.set_nagle_enabled(false);
                socket.set_timeout(Some(SILENCE));
                socket.set_keep_alive(Some(KEEP_ALIVE));
                let port = self.next_port;
                self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
                let to = SocketAddr::V4(forward.to);
                if socket.connect(self.interface.context(), to, port).is_ok() {
                    self.flows.push(Flow {
                        host,
                        socket: self.sockets.add(socket),
                        host_ended: false,
                        lan_ended: false,
                    });
                }
            }
        }
    }

    /// Moves bytes between hosts and sockets; true if there may be something to send now.
    fn pump(&mut self) -> bool {
        let mut moved = false;
        let sockets = &mut self.sockets;
        self.flows.retain_mut(|flow| {
            let socket = sockets.get_mut::<tcp::Socket>(flow.socket);
            moved |= flow.send_on(socket);
            moved |= flow.receive_on(socket);
            let over = flow.over(socket);
            if over {
                sockets.remove(flow.socket);
            }
            !over
        });
        moved
    }
}

impl Flow {
    fn send_on(&mut self, socket: &mut tcp::Socket) -> bool {
        let mut moved = false;
        while socket.can_send() && !self.host_ended {
            let mut read = None;
            let host = &mut self.host;
            let _ = socket.send(|space| {
                let result = host.read(space);
                let count = *result.as_ref().unwrap_or(&0);
                read = Some(result);
                (count, ())
            });
            match read {
                Some(Ok(count)) if count > 0 => moved = true,
                Some(Ok(_)) => {
                    self.host_ended = true;
                    socket.close();
                    return true;
                }
                Some(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => break,
                _ => {
                    socket.abort();
                    return true;
                }
            }
        }
        moved
    }

    fn receive_on(&mut self, socket: &mut tcp::Socket) -> bool {
        let mut moved = false;
        while socket.can_recv() {
            let mut written = None;
            let host = &mut self.host;
            let _ = socket.recv(|data| {
                let result = host.write(data);
                let count = *result.as_ref().unwrap_or(&0);
                written = Some(result);
                (count, ())
            });
            match written {
                Some(Ok(count)) if count > 0 => moved = true,
                Some(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => break,
                _ => {
                    socket.abort();
                    return true;
                }
            }
        }
        let ended = matches!(
            socket.state(),
            tcp::State::CloseWait
                | tcp::State::LastAck
                | tcp::State::Closing
                | tcp::State::TimeWait
        );
        if ended && !socket.can_recv() && !self.lan_ended {
            self.lan_ended = true;
            let _ = self.host.shutdown(Shutdown::Write);
        }
        moved
    }

    /// Nothing more will pass. A LAN that never ended its stream (refused, reset, silent) resets the host.
    fn over(&self, socket: &tcp::Socket) -> bool {
        match socket.state() {
            tcp::State::TimeWait => true,
            tcp::State::Closed => {
                if !self.lan_ended {
                    let _ =
                        rustix::net::sockopt::set_socket_linger(&self.host, Some(Duration::ZERO));
                }
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
