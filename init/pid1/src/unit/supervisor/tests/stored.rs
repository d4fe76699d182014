//! Descriptors that services store, from the message to the end of the unit.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketType, sendmsg_addr, socket,
};
use spec_unit::directive::directory::Preserve;

use super::*;

/// Says something with a descriptor, as the service of [`running`].
fn say(node: &mut Node, text: &str, fd: BorrowedFd<'_>) {
    let address = SocketAddrUnix::new(&node.supervisor.config.notify_socket).unwrap();
    let speaker = socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let text = [IoSlice::new(text.as_bytes())];
    sendmsg_addr(&speaker, &address, &text, &mut control, SendFlags::empty()).unwrap();
    assert_eq!(node.supervisor.hear(1), 1);
}

fn names(node: &Node) -> Vec<&str> {
    let stored = node.supervisor.host.stores.of(0).iter();
    stored.map(|stored| stored.name.as_str()).collect()
}

/// A service that is up and may store two descriptors.
fn keeper(preserve: Option<Preserve>) -> Node {
    let mut node = running();
    let mut unit = Unit::new("keeper.service", UnitType::Service);
    let notify = &mut unit.service.notify;
    notify.given = Some(NotifyAccess::All);
    (notify.store_max, notify.store_preserve) = (2, preserve);
    node.supervisor.graph = Graph::default();
    node.supervisor.graph.insert(unit).unwrap();
    node
}

#[test]
fn a_service_stores_descriptors_and_takes_them_back_by_name() {
    let mut node = keeper(None);
    let file = tempfile::tempfile().unwrap();
    say(&mut node, "FDSTORE=1\nFDNAME=a", file.as_fd());
    say(&mut node, "FDSTORE=1\nFDNAME=same", file.as_fd());
    let other = tempfile::tempfile().unwrap();
    say(&mut node, "FDSTORE=1", other.as_fd());
    say(&mut node, "READY=1", tempfile::tempfile().unwrap().as_fd());
    assert_eq!(names(&node), ["a", "stored"]);
    say(&mut node, "FDSTOREREMOVE=1\nFDNAME=a", other.as_fd());
    assert_eq!(names(&node), ["stored"]);
}

#[test]
fn a_service_without_room_stores_nothing() {
    let mut node = running();
    let file = tempfile::tempfile().unwrap();
    say(&mut node, "FDSTORE=1", file.as_fd());
    assert_eq!(names(&node), [""; 0]);
}

#[test]
fn what_is_stored_is_kept_over_a_restart_and_dropped_after_a_stop_unless_the_unit_says_else() {
    let cases = [
        (None, [true, false]),
        (Some(Preserve::No), [false, false]),
        (Some(Preserve::Yes), [true, true]),
    ];
    for (preserve, [restart, stop]) in cases {
        for (phase, kept) in [(Phase::AutoRestart, restart), (Phase::Dead, stop)] {
            let mut node = keeper(preserve);
            let file = tempfile::tempfile().unwrap();
            say(&mut node, "FDSTORE=1", file.as_fd());
            node.supervisor
                .with_machine(0, |machine| machine.state.phase = phase);
            assert_eq!(!names(&node).is_empty(), kept, "{preserve:?} {phase:?}");
        }
    }
}
