//! sd_notify(3), the service's side. Without `$NOTIFY_SOCKET` (a run by hand) every call does nothing.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Says that start-up is finished, and what the component does now.
pub(crate) fn ready(status: &str) {
    send(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
}

/// Says what the component does now.
pub(crate) fn status(status: &str) {
    send(&format!("STATUS={}", status.replace('\n', " ")));
}

/// Says that the component begins to end.
pub(crate) fn stopping() {
    send("STOPPING=1");
}

/// Feeds PID 1's watchdog for as long as this task is scheduled at all.
pub(crate) async fn feed_watchdog() {
    let asked = std::env::var("WATCHDOG_USEC")
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let Some(microseconds) = asked.filter(|microseconds| *microseconds > 0) else {
        return;
    };
    loop {
        send("WATCHDOG=1");
        tokio::time::sleep(Duration::from_micros(microseconds / 2)).await;
    }
}

fn send(text: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address));
    if let Err(error) = sent {
        log::warn!("sd_notify failed: {error}");
    }
}
