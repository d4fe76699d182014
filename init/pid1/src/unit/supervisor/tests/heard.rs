//! What services say and what their groups are like, when PID 1 is late or cannot look.

use std::os::unix::net::UnixDatagram;

use spec_unit::control::{Envelope, Request, VERSION};

use super::super::super::supervise::Timer;
use super::*;

/// Something that the service of [`running`] says.
fn say(node: &Node, text: &str) {
    let socket = UnixDatagram::unbound().unwrap();
    let path = &node.supervisor.config.notify_socket;
    socket.send_to(text.as_bytes(), path).unwrap();
}

#[test]
fn who_has_spoken_in_time_is_heard_before_its_clock_runs_out() {
    let mut node = running();
    let unit = node.supervisor.graph.id("a.service").unwrap();
    let host = &mut node.supervisor.host;
    // A span that is over by now, as PID 1 was kept from its loop.
    host.arm(unit, Timer::Watchdog, Some(1));
    // As many as the smallest queue of a kernel takes, less one.
    let most = node.supervisor.notify.as_ref().unwrap().most_waiting();
    let others = most.min(process::BATCH + 10) - 1;
    (0..others).for_each(|_| say(&node, "STATUS=busy"));
    say(&node, "WATCHDOG=1\nWATCHDOG_USEC=60000000");
    node.supervisor.turn(Duration::ZERO).unwrap();
    assert_eq!(node.phase("a.service"), Phase::Running);
    let at = node.supervisor.host.timers.at((unit, Timer::Watchdog));
    assert!(at.is_some_and(|at| at > node.supervisor.host.now_us()));
}

#[test]
fn watchers_hear_of_what_has_changed_and_of_nothing_else() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    let mut node = running();
    let path = node.folder.path().join("control");
    let client = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::connect(&client, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    let supervisor = &mut node.supervisor;
    let control = supervisor.control.as_mut().unwrap();
    let name_of = |_| Some("bedplate-node".into());
    control.accept(&supervisor.host.events, name_of, |_| None);
    let envelope = Envelope {
        version: VERSION,
        id: 1,
        request: Request::Watch,
    };
    let packet = serde_json::to_vec(&envelope).unwrap();
    let flags = rustix::net::SendFlags::empty();
    rustix::net::send(&client, &packet, flags).unwrap();
    supervisor.serve(1);
    for text in [
        "WATCHDOG=1",
        "READY=1",
        "STATUS=a",
        "STATUS=a",
        "WATCHDOG=1",
    ] {
        say(&node, text);
        node.supervisor.hear(1);
    }
    let mut packets = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let flags = rustix::net::RecvFlags::DONTWAIT;
    while let Ok((length, _)) = rustix::net::recv(&client, &mut buffer[..], flags) {
        packets.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    assert_eq!(packets.len(), 2, "{packets:?}");
    assert!(packets[1].contains(r#""status_text":"a""#), "{packets:?}");
}

#[test]
fn a_group_that_could_not_be_read_is_looked_at_again() {
    let mut node = running();
    let group = node.folder.path().join("no-cgroups/a.service");
    // Not to be read as a file, as where there are no descriptors.
    std::fs::create_dir_all(group.join("cgroup.events")).unwrap();
    let supervisor = &mut node.supervisor;
    assert!(supervisor.host.populated("a.service"));
    supervisor.look_again_if_due();
    assert!(!supervisor.host.cgroups.unseen, "not at once");
    assert!(supervisor.idle(Duration::from_secs(60)) <= Duration::from_secs(1));
    supervisor.look_again_us = Some(1);
    supervisor.look_again_if_due();
    assert!(supervisor.host.cgroups.unseen);
    assert_eq!(supervisor.look_again_us, None);
}
