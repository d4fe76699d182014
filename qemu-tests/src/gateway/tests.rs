//! A second stack of smoltcp plays the LAN's host: an echo server.

use super::*;
use std::thread::{self, JoinHandle};
use std::{
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
const ECHO: u16 = 7;
const RESET: u16 = 8;
const LISTENERS: usize = 80;

/// Echoes what comes on port 7, ends when the other side has ended; resets what comes on port 8.
struct LanHost {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    port: PortId,
}

impl LanHost {
    fn start(switch: &Switch) -> LanHost {
        let (port, stream) = switch.attach().unwrap();
        stream.set_nonblocking(true).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let seen = ends.clone();
        let thread = thread::spawn(move || run(stream, &seen));
        LanHost {
            ends,
            thread: Some(thread),
            port,
        }
    }
}

impl Drop for LanHost {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn run(stream: UnixStream, ends: &AtomicBool) {
    let mut wire = Wire {
        stream,
        input: Input::default(),
        received: VecDeque::new(),
        output: Output::default(),
    };
    let address = EthernetAddress([2, 0, 0, 0, 0, 11]);
    let mut interface = Interface::new(Config::new(address.into()), &mut wire, NetInstant::now());
    interface.update_ip_addrs(|list| list.push(IpCidr::new(HOST.into(), 24)).unwrap());
    let mut sockets = SocketSet::new(Vec::new());
    let handles: Vec<SocketHandle> = (0..LISTENERS)
        .map(|index| {
            let buffer = || tcp::SocketBuffer::new(vec![0; 16 << 10]);
            let mut socket = tcp::Socket::new(buffer(), buffer());
            socket
                .listen(if index == 0 { RESET } else { ECHO })
                .unwrap();
            sockets.add(socket)
        })
        .collect();
    while !ends.load(Ordering::SeqCst) {
        if wire.output.write(&mut wire.stream).is_err()
            || wire
                .input
                .read(&mut wire.stream, &mut wire.received)
                .is_err()
        {
            return;
        }
        interface.poll(NetInstant::now(), &mut wire, &mut sockets);
        for (index, handle) in handles.iter().enumerate() {
            let socket = sockets.get_mut::<tcp::Socket>(*handle);
            if index == 0 && socket.can_recv() {
                socket.abort();
            }
            while socket.can_recv() && socket.can_send() {
                let mut data = [0; 2048];
                let room = (socket.send_capacity() - socket.send_queue()).min(data.len());
                let count = socket.recv_slice(&mut data[..room]).unwrap();
                assert_eq!(socket.send_slice(&data[..count]).unwrap(), count);
            }
            if socket.state() == tcp::State::CloseWait && !socket.can_recv() {
                socket.close();
            }
        }
        interface.poll(NetInstant::now(), &mut wire, &mut sockets);
        thread::sleep(Duration::from_micros(300));
    }
}

fn lan() -> (Switch, Gateway, LanHost) {
    let switch = Switch::start().unwrap();
    let gateway = Gateway::start(&switch, GATEWAY, 24).unwrap();
    let host = LanHost::start(&switch);
    (switch, gateway, host)
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

#[test]
fn bytes_come_back_and_both_ends_close() {
    let (_switch, gateway, _host) = lan();
    let port = gateway.forward(0, SocketAddrV4::new(HOST, ECHO)).unwrap();
    let mut stream = connect(port);
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"hello");
}

#[test]
fn sixty_connections_at_once_keep_their_bytes_apart() {
    let (_switch, gateway, _host) = lan();
    let port = gateway.forward(0, SocketAddrV4::new(HOST, ECHO)).unwrap();
    let talkers: Vec<_> = (0..60u8)
        .map(|number| {
            thread::spawn(move || {
                let mut stream = connect(port);
                let said = vec![number; 5000];
                stream.write_all(&said).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                assert!(
                    answer == said,
                    "connection {number} got {} bytes",
                    answer.len()
                );
            })
        })
        .collect();
    for talker in talkers {
        talker.join().unwrap();
    }
}

#[test]
fn a_reader_that_sleeps_makes_the_writer_wait_and_loses_nothing() {
    let (_switch, gateway, _host) = lan();
    let port = gateway.forward(0, SocketAddrV4::new(HOST, ECHO)).unwrap();
    let stream = connect(port);
    let mut writer = stream.try_clone().unwrap();
    let said: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let expected = said.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&said).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    thread::sleep(Duration::from_millis(500));
    let mut answer = Vec::new();
    (&stream).read_to_end(&mut answer).unwrap();
    writing.join().unwrap();
    assert!(answer == expected, "{} bytes came back", answer.len());
}

#[test]
fn a_bad_line_costs_time_but_no_bytes() {
    let (switch, gateway, host) = lan();
    let line = crate::Line {
        loss: 0.02,
        duplicate: 0.05,
        delay_ms: 2,
        jitter_ms: 5,
        ..Default::default()
    };
    switch.set_port(host.port, line);
    let port = gateway.forward(0, SocketAddrV4::new(HOST, ECHO)).unwrap();
    let mut stream = connect(port);
    let said: Vec<u8> = (0..60_000u32).map(|n| (n % 241) as u8).collect();
    stream.write_all(&said).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer == said, "{} bytes came back", answer.len());
}

#[test]
fn a_reset_in_the_lan_is_a_reset_here() {
    let (_switch, gateway, _host) = lan();
    let port = gateway.forward(0, SocketAddrV4::new(HOST, RESET)).unwrap();
    let mut stream = connect(port);
    stream.write_all(b"x").unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_closed_port_in_the_lan_refuses_here() {
    let (_switch, gateway, _host) = lan();
    let port = gateway.forward(0, SocketAddrV4::new(HOST, 9)).unwrap();
    let error = connect(port).read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_port_in_use_is_refused_with_its_number() {
    let (_switch, gateway, _host) = lan();
    let port = gateway.forward(0, SocketAddrV4::new(HOST, ECHO)).unwrap();
    let error = gateway
        .forward(port, SocketAddrV4::new(HOST, ECHO))
        .unwrap_err();
    assert!(
        error.to_string().contains(&format!("127.0.0.1:{port}")),
        "{error}"
    );
}

#[test]
fn it_answers_arp_and_ping() {
    use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Ipv4Packet};
    let switch = Switch::start().unwrap();
    let _gateway = Gateway::start(&switch, GATEWAY, 24).unwrap();
    let (_, mut stream) = switch.attach().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let me = [2, 0, 0, 0, 0, 12];
    let arp = [
        &[0xff; 6][..],
        &me,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &me,
        &[10, 77, 0, 12],
        &[0; 6],
        &[10, 77, 0, 1],
    ]
    .concat();
    let mut talk = |data: &[u8]| {
        stream
            .write_all(&(data.len() as u32).to_be_bytes())
            .unwrap();
        stream.write_all(data).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).unwrap();
        answer
    };
    let answer = talk(&arp);
    assert_eq!(answer[..6], me);
    assert_eq!(answer[20..28], [&[0, 2][..], &ADDRESS.0].concat());

    let mut ping = [&ADDRESS.0[..], &me, &[8, 0], &[0; 28]].concat();
    let mut ip = Ipv4Packet::new_unchecked(&mut ping[14..]);
    ip.set_version(4);
    ip.set_header_len(20);
    ip.set_total_len(28);
    ip.set_hop_limit(64);
    ip.set_next_header(smoltcp::wire::IpProtocol::Icmp);
    ip.set_src_addr(Ipv4Addr::new(10, 77, 0, 12));
    ip.set_dst_addr(GATEWAY);
    let mut icmp = Icmpv4Packet::new_unchecked(ip.payload_mut());
    icmp.set_msg_type(Icmpv4Message::EchoRequest);
    icmp.fill_checksum();
    ip.fill_checksum();
    let answer = talk(&ping);
    let icmp = Icmpv4Packet::new_checked(&answer[34..]).unwrap();
    assert_eq!(icmp.msg_type(), Icmpv4Message::EchoReply);
}
