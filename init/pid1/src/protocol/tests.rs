//! Clients over real sockets, and hostile packets.

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

fn root() -> &'static Rights {
    Rights::of(&Peer::user(0), |_| None).unwrap()
}

#[test]
fn what_a_user_may_not_ask_is_refused_with_the_number_of_its_request() {
    let node = Rights::of(&Peer::user(7), |_| Some("bedplate-node".into())).unwrap();
    let reload = request(Request::Reload { unit: "a".into() });
    assert!(decode(&reload, false, root()).is_ok());
    assert_eq!(decode(&reload, false, node).unwrap_err().0, 7);
}

#[test]
fn hostile_packets_are_refused_with_a_reason() {
    assert!(
        decode(b"{", false, root())
            .unwrap_err()
            .1
            .contains("not a request")
    );
    assert!(
        decode(b"{}", true, root())
            .unwrap_err()
            .1
            .contains("longer")
    );
    let old = br#"{"version":99,"id":3,"request":"watch"}"#;
    assert_eq!(
        decode(old, false, root()).unwrap_err(),
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
    control.accept(&events, somebody, |_| None);
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
    control.accept(&events, |_| Some("nobody".into()), |_| None);
    if rustix::process::geteuid().is_root() {
        assert_eq!(control.clients.len(), 1);
    } else {
        assert!(control.clients.is_empty());
        assert!(matches!(receive(&client).unwrap().reply, Reply::Error(_)));
    }
}

/// A control socket with so many clients of whoever runs the tests.
fn with_clients(count: usize) -> (tempfile::TempDir, Events, Control, Vec<OwnedFd>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let events = Events::open().unwrap();
    let control = Control::open(&path).unwrap();
    let sockets = (0..count).map(|_| connect(&path)).collect();
    (folder, events, control, sockets)
}

#[test]
fn a_flood_of_clients_is_taken_in_turn_by_turn() {
    let (_folder, events, mut control, _sockets) = with_clients(BATCH + 3);
    control.accept(&events, somebody, |_| None);
    assert_eq!(control.clients.len(), BATCH);
    let ready = events.wait(Duration::ZERO).unwrap();
    assert_eq!(ready, [], "the loop does not listen to the socket yet");
    events.add(control.fd(), Source::Control).unwrap();
    assert_eq!(events.wait(Duration::ZERO).unwrap(), [Source::Control]);
}

#[test]
fn a_user_with_all_its_clients_takes_nobody_elses_place() {
    let (_folder, events, mut control, _sockets) = with_clients(MAX_OF_ONE_USER);
    control.accept(&events, somebody, |_| None);
    control
        .clients
        .values_mut()
        .for_each(|client| client.peer = Peer::user(7));
    let refused = control.admit(&Peer::user(7), somebody).unwrap_err();
    assert!(refused.contains("try again later"), "{refused}");
    assert!(control.admit(&Peer::user(8), somebody).is_ok());
    assert!(control.admit(&Peer::user(0), somebody).is_ok());
}

#[test]
fn without_descriptors_it_listens_again_when_a_client_has_left() {
    let (folder, events, mut control, _sockets) = with_clients(1);
    events.add(control.fd(), Source::Control).unwrap();
    control.accept(&events, somebody, |_| None);
    let _waits = connect(&folder.path().join("control.sock"));
    control.pause(&events);
    assert_eq!(events.wait(Duration::ZERO).unwrap(), [], "it would spin");
    control.end_pause(&events);
    assert_eq!(events.wait(Duration::ZERO).unwrap(), [], "too early");
    let number = *control.clients.keys().next().unwrap();
    control.drop_client(&events, number);
    assert_eq!(events.wait(Duration::ZERO).unwrap(), [Source::Control]);
}

#[test]
fn a_pause_ends_without_clients_too() {
    let (_folder, events, mut control, _sockets) = with_clients(1);
    events.add(control.fd(), Source::Control).unwrap();
    control.pause(&events);
    control.paused = Some(Instant::now());
    control.end_pause(&events);
    assert_eq!(events.wait(Duration::ZERO).unwrap(), [Source::Control]);
}

#[test]
fn descriptors_that_wait_in_a_connection_are_not_closed_with_it() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let (ours, theirs) = sys::clone::pair(3).unwrap();
    let say = |text: &[u8], count: usize| {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = vec![theirs.as_fd(); count];
        assert!(count == 0 || ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        let text = [io::IoSlice::new(text)];
        sendmsg(&theirs, &text, &mut ancillary, SendFlags::empty()).unwrap();
    };
    say(b"hello", 1);
    say(b"", 0);
    say(b"", 2);
    let mut control = Control::of(theirs.try_clone().unwrap());
    control.close(ours);
    assert_eq!((control.left().len(), control.left().len()), (3, 0));
    let ended = rustix::net::send(&theirs, b"late", SendFlags::NOSIGNAL);
    assert!(ended.is_err(), "nothing comes after");
}

proptest! {
    #[test]
    fn no_packet_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes, false, root()).is_err());
    }
}

#[test]
fn a_wait_is_answered_with_its_number_whatever_was_asked_since_and_there_is_an_end_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let events = Events::open().unwrap();
    let mut control = Control::open(&path).unwrap();
    let client = connect(&path);
    control.accept(&events, somebody, |_| None);
    let number = *control.clients.keys().next().unwrap();
    for id in 0..MAX_WAITS as u64 {
        control.wait(number, id, &format!("{id}.service")).unwrap();
    }
    let refused = control.wait(number, 999, "a.service").unwrap_err();
    assert!(refused.contains("256 waits already"), "{refused}");
    control.answer(&events, number, 1000, Reply::Ok);
    control.end_wait(&events, number, 5, Reply::Ok);
    control.end_wait(&events, number, 5, Reply::Ok);
    let answered: Vec<u64> = std::iter::from_fn(|| Some(receive(&client)?.id)).collect();
    assert_eq!(answered, [1000, 5]);
    assert_eq!(control.waits().count(), MAX_WAITS - 1);
    assert!(control.waits().all(|(_, id, _)| id != 5));

    // They outlive the image of PID 1.
    let record = control.records().remove(0);
    let again = record.clone();
    let socket = rustix::io::dup(&control.clients[&number].socket).unwrap();
    let mut next = Control::open(&folder.path().join("next.sock")).unwrap();
    next.take_again(&events, again, socket, somebody);
    assert_eq!(next.waits().count(), MAX_WAITS - 1);
}
