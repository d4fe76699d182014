//! Raw ports, no machines.

use super::*;
use std::io::Read;

/// What does not come within this time does not come.
const SOON: Duration = Duration::from_millis(150);
/// After this long nothing more is on its way.
const QUIET: Duration = Duration::from_secs(2);
/// What must come gets this long, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Host {
    port: PortId,
    stream: UnixStream,
    address: [u8; 6],
}

impl Host {
    fn new(switch: &Switch, last: u8) -> Host {
        let (port, stream) = switch.attach().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let address = [2, 0, 0, 0, 0, last];
        Host {
            port,
            stream,
            address,
        }
    }

    fn send(&mut self, to: [u8; 6], text: &[u8]) {
        let data = [&to, &self.address, &[0x88, 0xb5][..], text].concat();
        let whole = [&(data.len() as u32).to_be_bytes(), &data[..]].concat();
        self.stream.write_all(&whole).unwrap();
    }

    /// The text of the next frame, or nothing.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut data = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut data).unwrap();
        Some(data.split_off(14))
    }

    /// The text of the next frame, which must come.
    fn hear(&mut self) -> Vec<u8> {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let text = self.receive().unwrap();
        self.stream.set_read_timeout(Some(SOON)).unwrap();
        text
    }
}

fn three() -> (Switch, Host, Host, Host) {
    let switch = Switch::start().unwrap();
    let hosts = [1, 2, 3].map(|last| Host::new(&switch, last));
    let [a, b, c] = hosts;
    (switch, a, b, c)
}

const ALL: [u8; 6] = [0xff; 6];

#[test]
fn unknown_goes_to_all_and_known_to_one() {
    let (_switch, mut a, mut b, mut c) = three();
    a.send(b.address, b"who are you");
    assert_eq!(b.hear(), b"who are you");
    assert_eq!(c.hear(), b"who are you");
    b.send(a.address, b"me");
    assert_eq!(a.hear(), b"me");
    assert_eq!(c.receive(), None);
    a.send(b.address, b"thanks");
    assert_eq!(b.hear(), b"thanks");
    assert_eq!(c.receive(), None);
}

#[test]
fn a_partition_cuts_and_heals() {
    let (switch, mut a, mut b, mut c) = three();
    switch.partition(&[&[a.port], &[b.port, c.port]]);
    a.send(ALL, b"lost");
    assert_eq!(b.receive(), None);
    b.send(ALL, b"inside");
    assert_eq!(c.hear(), b"inside");
    assert_eq!(a.receive(), None);
    switch.heal();
    a.send(ALL, b"back");
    assert_eq!(b.hear(), b"back");
    assert_eq!(switch.counters().lost, 2 + 1);
}

#[test]
fn one_way_can_be_cut_alone() {
    let (switch, mut a, mut b, _c) = three();
    switch.set_way(a.port, b.port, Line::CUT);
    a.send(b.address, b"deaf");
    assert_eq!(b.receive(), None);
    b.send(a.address, b"heard");
    assert_eq!(a.hear(), b"heard");
}

#[test]
fn loss_is_about_what_was_asked() {
    let (switch, mut a, mut b, _c) = three();
    let line = Line {
        loss: 0.3,
        ..Line::default()
    };
    switch.set_pair(a.port, b.port, line);
    for _ in 0..500 {
        a.send(b.address, b"x");
    }
    b.stream.set_read_timeout(Some(QUIET)).unwrap();
    let arrived = std::iter::from_fn(|| b.receive()).count();
    assert!((280..420).contains(&arrived), "{arrived} of 500 arrived");
}

#[test]
fn delay_delays_and_duplicate_doubles() {
    let (switch, mut a, mut b, _c) = three();
    let line = Line {
        delay_ms: 80,
        duplicate: 1.0,
        ..Line::default()
    };
    switch.set_port(b.port, line);
    let sent = Instant::now();
    a.send(b.address, b"late");
    assert_eq!(b.hear(), b"late");
    assert!(sent.elapsed() >= Duration::from_millis(80));
    assert_eq!(b.hear(), b"late");
    assert_eq!(b.receive(), None);
}

#[test]
fn a_port_that_does_not_read_stops_nobody() {
    let (switch, mut a, mut b, _asleep) = three();
    let big = vec![7; 60_000];
    for _ in 0..300 {
        a.send(ALL, &big);
        assert_eq!(b.hear().len(), big.len());
    }
    assert!(switch.counters().overrun > 0);
}

#[test]
fn a_machine_that_starts_again_gets_its_port_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net0.sock");
    let switch = Switch::start().unwrap();
    let port = switch.listen(&path).unwrap();
    let mut a = Host::new(&switch, 1);
    for _ in 0..3 {
        let stream = socket::connect(&path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut machine = Host {
            port,
            stream,
            address: [2, 0, 0, 0, 0, 9],
        };
        machine.send(a.address, b"up");
        assert_eq!(a.hear(), b"up");
        a.send(machine.address, b"welcome");
        assert_eq!(machine.hear(), b"welcome");
    }
}

#[test]
fn a_port_that_talks_garbage_is_cut_off_alone() {
    let (_switch, mut a, mut b, mut c) = three();
    c.stream.write_all(&[0xff; 64]).unwrap();
    assert_eq!(c.receive(), None);
    a.send(ALL, b"still here");
    assert_eq!(b.hear(), b"still here");
}

#[test]
fn the_capture_is_a_pcap_file_of_what_came_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lan.pcap");
    let (switch, mut a, mut b, _c) = three();
    switch.capture(Some(&path)).unwrap();
    a.send(ALL, b"recorded");
    b.hear();
    switch.capture(None).unwrap();
    let file = std::fs::read(&path).unwrap();
    assert_eq!(file[..4], 0xa1b2_c3d4u32.to_le_bytes());
    assert_eq!(file.len(), 24 + 16 + 14 + b"recorded".len());
    assert!(file.ends_with(b"recorded"));
}
