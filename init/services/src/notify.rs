//! sd_notify(3), the service's side: datagrams of `KEY=value` lines to `$NOTIFY_SOCKET`.
//!
//! Without the variable (a run by hand) every call does nothing.

use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};

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

/// Gives PID 1 a descriptor to keep over a restart (`FileDescriptorStoreMax=`).
pub(crate) fn store_fd(name: &str, fd: BorrowedFd<'_>) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let Some(address) = rustix_address(&path) else {
        return;
    };
    let Ok(socket) = UnixDatagram::unbound() else {
        return;
    };
    let text = format!("FDSTORE=1\nFDNAME={name}");
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if control.push(SendAncillaryMessage::ScmRights(&fds)) {
        let data = [std::io::IoSlice::new(text.as_bytes())];
        let _ = sendmsg_addr(
            &socket,
            &address,
            &data,
            &mut control,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
    }
}

/// Takes a stored descriptor back out of PID 1's keeping.
pub(crate) fn remove_fd(name: &str) {
    send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
}

/// The descriptors PID 1 kept, with their names (`LISTEN_FDS`, `LISTEN_FDNAMES`).
pub(crate) fn stored_fds() -> Vec<(String, OwnedFd)> {
    let number = |key: &str| {
        std::env::var(key)
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
    };
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).min(4096);
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    (0..count)
        .filter_map(|index| {
            let name = names.next().unwrap_or_default().to_string();
            crate::sys::take_inherited_fd(3 + index as i32).map(|fd| (name, fd))
        })
        .collect()
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

fn rustix_address(path: &OsString) -> Option<SocketAddrUnix> {
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name).ok(),
        None => SocketAddrUnix::new(path.as_bytes()).ok(),
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}
