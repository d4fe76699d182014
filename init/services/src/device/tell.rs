//! Telling PID 1 which devices are there: it keeps a unit for each (`dev-vda.device`), as systemd.device(5) says.
//!
//! All are told at the start and whenever PID 1 has lost the connection; changes as they come. Of all devices those are
//! told that systemd's own rules give units: disks, links, terminals, and what has a name of its own for others to wait
//! for.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with, sockopt,
};
use spec_layout::path::CONTROL_SOCKET;
use spec_unit::control::{Answer, Envelope, MAX_PACKET, Reply, Request, VERSION};
use spec_unit::device::{Device as Told, MAX_DEVICES, MAX_NAMES, Telling};

use crate::device::uevent::Device;

/// How long PID 1 may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of paths in one message: twice as many, as JSON writes them at worst, are less than a packet.
const MESSAGE: usize = 32 * 1024;

/// What PID 1 was told, and by which connection.
#[derive(Default)]
pub(crate) struct Teller {
    known: BTreeMap<String, Told>,
    changed: BTreeSet<String>,
    gone: BTreeSet<String>,
    socket: Option<OwnedFd>,
    crowded: bool,
}

impl Teller {
    /// A device is there, with these links below /dev.
    pub(crate) fn present(&mut self, device: &Device, links: &BTreeSet<String>) {
        let Some(told) = describe(device, links) else {
            return;
        };
        if self.known.len() >= MAX_DEVICES && !self.known.contains_key(&told.path) {
            if !std::mem::replace(&mut self.crowded, true) {
                log::warn!("{}: no unit, as there are {MAX_DEVICES} devices", told.path);
            }
            return;
        }
        if self.known.get(&told.path) != Some(&told) {
            self.gone.remove(&told.path);
            self.changed.insert(told.path.clone());
            self.known.insert(told.path.clone(), told);
        }
    }

    /// A device is gone.
    pub(crate) fn absent(&mut self, path: &str) {
        if self.known.remove(path).is_some() {
            self.changed.remove(path);
            self.gone.insert(path.to_owned());
        }
    }

    /// Tells what has changed, or everything where PID 1 may not know it. What could not be told is told the next time.
    pub(crate) fn tell(&mut self) {
        if let Err(error) = self.try_tell() {
            log::warn!("PID 1 was not told of all devices: {error}");
            self.socket = None;
        }
    }

    fn try_tell(&mut self) -> io::Result<()> {
        if self.socket.as_ref().is_none_or(is_over) {
            self.socket = Some(open()?);
            return self.tell_all();
        }
        let gone: Vec<String> = self.gone.iter().cloned().collect();
        for paths in parts(gone, String::len) {
            self.ask(Telling::Changes, Vec::new(), paths)?;
        }
        let changed = self.changed.iter().filter_map(|path| self.known.get(path));
        for devices in parts(changed.cloned().collect(), size) {
            self.ask(Telling::Changes, devices, Vec::new())?;
        }
        self.gone.clear();
        self.changed.clear();
        Ok(())
    }

    fn tell_all(&mut self) -> io::Result<()> {
        self.ask(Telling::Begin, Vec::new(), Vec::new())?;
        for devices in parts(self.known.values().cloned().collect(), size) {
            self.ask(Telling::Changes, devices, Vec::new())?;
        }
        self.ask(Telling::End, Vec::new(), Vec::new())?;
        self.gone.clear();
        self.changed.clear();
        Ok(())
    }

    fn ask(&self, telling: Telling, devices: Vec<Told>, gone: Vec<String>) -> io::Result<()> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let request = Request::Devices {
            telling,
            devices,
            gone,
        };
        let envelope = Envelope {
            version: VERSION,
            id: 1,
            request,
        };
        send(socket, &serde_json::to_vec(&envelope)?, SendFlags::NOSIGNAL)?;
        let mut buffer = vec![0; MAX_PACKET];
        let (length, _) = recv(socket, &mut *buffer, RecvFlags::empty())?;
        let bytes = buffer.get(..length).unwrap_or_default();
        match serde_json::from_slice::<Answer>(bytes)?.reply {
            Reply::Error(why) => Err(io::Error::other(why)),
            _ => Ok(()),
        }
    }
}

/// About how many bytes a device takes in a message.
fn size(device: &Told) -> usize {
    let names = device.names.iter().map(|name| name.len() + 3);
    device.path.len() + 32 + names.sum::<usize>()
}

/// Parts that each fit into a message.
fn parts<T>(all: Vec<T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for one in all {
        let more = size(&one);
        if bytes + more > MESSAGE && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += more;
        part.push(one);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

fn open() -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    connect(&socket, &SocketAddrUnix::new(CONTROL_SOCKET)?)?;
    Ok(socket)
}

/// Whether PID 1 has ended the connection, as after a crash of its own. It says nothing that was not asked.
fn is_over(socket: &OwnedFd) -> bool {
    let mut byte = [0; 1];
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    match recv(socket, &mut byte, flags) {
        Ok((length, _)) => length == 0,
        Err(cause) => cause != rustix::io::Errno::AGAIN,
    }
}

/// What PID 1 is told of a device; nothing of one that has no unit.
fn describe(device: &Device, links: &BTreeSet<String>) -> Option<Told> {
    let name = device.name();
    let has_unit = match device.subsystem.as_str() {
        "block" | "net" | "tpm" | "tpmrm" | "virtio-ports" => true,
        // Terminals of machines; not the virtual ones and not pseudo-terminals.
        "tty" => {
            let letter = name
                .strip_prefix("tty")
                .and_then(|rest| rest.chars().next());
            letter.is_some_and(|letter| letter.is_ascii_alphabetic()) || name.starts_with("hvc")
        }
        _ => false,
    };
    if !has_unit {
        return None;
    }
    let mut names: Vec<String> = device
        .node()
        .map(|node| format!("/dev/{node}"))
        .into_iter()
        .collect();
    if device.subsystem == "net" {
        names.push(format!("/sys/subsystem/net/devices/{name}"));
    }
    names.extend(links.iter().map(|link| format!("/dev/{link}")));
    names.truncate(MAX_NAMES);
    let told = Told {
        path: device.path.clone(),
        names,
    };
    told.check().is_ok().then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &str, subsystem: &str, uevent: &str) -> Device {
        Device::present(path, subsystem.into(), uevent).unwrap()
    }

    #[test]
    fn disks_links_and_real_terminals_have_units() {
        let links = BTreeSet::from(["disk/by-label/a".to_string()]);
        let disk = device("/devices/virtio1/block/vda", "block", "DEVNAME=vda\n");
        let told = describe(&disk, &links).unwrap();
        assert_eq!(told.names, ["/dev/vda", "/dev/disk/by-label/a"]);
        let link = device("/devices/virtio0/net/eth0", "net", "");
        let told = describe(&link, &BTreeSet::new()).unwrap();
        assert_eq!(told.names, ["/sys/subsystem/net/devices/eth0"]);
        for (name, has) in [
            ("ttyS0", true),
            ("hvc0", true),
            ("tty1", false),
            ("tty", false),
        ] {
            let tty = device(&format!("/devices/tty/{name}"), "tty", "");
            assert_eq!(describe(&tty, &BTreeSet::new()).is_some(), has, "{name}");
        }
        assert_eq!(describe(&device("/devices/cpu0", "cpu", ""), &links), None);
    }

    #[test]
    fn messages_are_cut_before_they_are_too_long() {
        let cut = parts(vec![20_000, 20_000, 5_000, 40_000, 1], |size| *size);
        assert_eq!(
            cut,
            [vec![20_000], vec![20_000, 5_000], vec![40_000], vec![1]]
        );
        assert!(parts(Vec::<usize>::new(), |size| *size).is_empty());
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let mut teller = Teller::default();
        let disk = device("/devices/block/vda", "block", "DEVNAME=vda\n");
        teller.present(&disk, &BTreeSet::new());
        assert_eq!(teller.changed.len(), 1);
        teller.changed.clear();
        teller.present(&disk, &BTreeSet::new());
        assert!(teller.changed.is_empty(), "it is known as it is");
        teller.present(&disk, &BTreeSet::from(["disk/by-id/x".to_string()]));
        assert_eq!(teller.changed.len(), 1);
        teller.absent("/devices/block/vda");
        assert_eq!((teller.changed.len(), teller.gone.len()), (0, 1));
        teller.absent("/devices/block/other");
        assert_eq!(teller.gone.len(), 1);
    }
}
