//! sd_notify(3), the service's side: datagrams of `KEY=value` lines to `$NOTIFY_SOCKET`.
//!
//! Without the variable (a run by hand) every call does nothing.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Says that start-up is finished, and in `status` what the service does now.
pub(crate) fn ready(status: &str) {
    send(&format!("READY=1\nSTATUS={}", one_line(status)));
}

/// Says what the service does now.
pub(crate) fn status(status: &str) {
    send(&format!("STATUS={}", one_line(status)));
}

/// Says that the service begins to end.
pub(crate) fn stopping() {
    send("STOPPING=1");
}

/// Tells PID 1 that the service is alive.
pub(crate) fn watchdog() {
    send("WATCHDOG=1");
}

/// How often to call [`watchdog`]: half of `$WATCHDOG_USEC`, if PID 1 waits for it.
pub(crate) fn watchdog_period() -> Option<Duration> {
    let microseconds: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds / 2))
}

fn send(text: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let Some(address) = std_address(&path) else {
        return;
    };
    let Ok(socket) = UnixDatagram::unbound() else {
        return;
    };
    // A full queue of PID 1 must not hold the service up; what is lost here is repeated or harmless.
    let _ = socket.set_write_timeout(Some(Duration::from_secs(5)));
    if let Err(error) = socket.send_to_addr(text.as_bytes(), &address) {
        log::warn!("sd_notify to {path:?} failed: {error}");
    }
}

fn std_address(path: &OsString) -> Option<SocketAddr> {
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => SocketAddr::from_pathname(path).ok(),
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}
