//! sd_notify(3), the service's side: datagrams of `KEY=value` lines to `$NOTIFY_SOCKET`.
//!
//! Without the variable (a run by hand) every call does nothing.

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

/// How long a full queue of PID 1 may hold a message up.
const LONGEST: Duration = Duration::from_secs(5);

/// Says that start-up is finished, and in `status` what the service does now.
pub(crate) fn ready(status: &str) {
    send(&format!("READY=1\nSTATUS={}", one_line(status)));
}

/// Says what the service does now.
pub(crate) fn status(status: &str) {
    send(&format!("STATUS={}", one_line(status)));
}

/// Says that the service reads its config anew; [`ready`] says that it has.
pub(crate) fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
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

/// Has PID 1 store a descriptor by a name, until [`remove`], and hand it to the next run of the service.
pub(crate) fn store(fd: BorrowedFd<'_>, name: &str) {
    let Some(address) = pid1() else { return };
    if let Err(error) = store_at(&address, fd, name) {
        log::warn!("sd_notify, storing {name}: {error}");
    }
}

/// The same, at an address. It is kept even once it is hung up: what was written before is not read yet.
pub(crate) fn store_at(address: &SocketAddr, fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let text = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}");
    let path = address
        .as_pathname()
        .map(|path| path.as_os_str().as_bytes());
    let to = match (path, address.as_abstract_name()) {
        (Some(path), _) => UnixAddr::new(path)?,
        (None, Some(name)) => UnixAddr::new_abstract(name)?,
        (None, None) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(LONGEST))?;
    let fds = [fd.as_raw_fd()];
    let with = [ControlMessage::ScmRights(&fds)];
    let parts = [IoSlice::new(text.as_bytes())];
    sendmsg(
        socket.as_raw_fd(),
        &parts,
        &with,
        MsgFlags::MSG_NOSIGNAL,
        Some(&to),
    )?;
    Ok(())
}

/// Has PID 1 forget a descriptor.
pub(crate) fn remove(name: &str) {
    send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
}

/// Where PID 1 listens; nowhere in a run by hand.
fn pid1() -> Option<SocketAddr> {
    std_address(&std::env::var_os("NOTIFY_SOCKET")?)
}

fn send(text: &str) {
    let Some(address) = pid1() else { return };
    let Ok(socket) = UnixDatagram::unbound() else {
        return;
    };
    // A full queue of PID 1 must not hold the service up; what is lost here is repeated or harmless.
    let _ = socket.set_write_timeout(Some(LONGEST));
    if let Err(error) = socket.send_to_addr(text.as_bytes(), &address) {
        log::warn!("sd_notify to {address:?} failed: {error}");
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
