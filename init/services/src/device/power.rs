//! Power and sleep buttons: an input device that can send KEY_POWER is read, and its press asks PID 1 to power off.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with, sockopt,
};
use spec_layout::path::CONTROL_SOCKET;
use spec_unit::control::{Answer, Envelope, MAX_PACKET, Reply, Request, ShutdownAction, VERSION};

use crate::device::sysfs;
use crate::device::uevent::Device;

/// `KEY_POWER` (input-event-codes.h).
const KEY_POWER: u16 = 116;
/// `EV_KEY`.
const EV_KEY: u16 = 1;
/// Bytes of `struct input_event` on 64-bit machines: time, type, code, value.
const EVENT_BYTES: usize = 24;
/// How long PID 1 may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A button that is watched.
pub(crate) struct Button {
    name: String,
    file: File,
}

impl Button {
    /// Opens the input device if it can send KEY_POWER.
    pub(crate) fn open(device: &Device) -> Option<Self> {
        let node = device
            .node()
            .filter(|node| node.starts_with("input/event"))?;
        let keys = sysfs::text(&device.folder(), "device/capabilities/key")?;
        if !has_key(&keys, KEY_POWER) {
            return None;
        }
        let path = Path::new("/dev").join(node);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(&path);
        let name = sysfs::text(&device.folder(), "device/name").unwrap_or_default();
        match file {
            Ok(file) => Some(Self { name, file }),
            Err(error) => {
                log::warn!("{}: {error}", path.display());
                None
            }
        }
    }

    /// What the device calls itself.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// For epoll.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Reads what has come; whether the button was pressed. An error means that the device is gone.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; EVENT_BYTES * 16];
        match self.file.read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => Ok(buffer
                .get(..length)
                .unwrap_or_default()
                .chunks_exact(EVENT_BYTES)
                .any(is_press)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Asks PID 1 to power off.
pub(crate) fn ask_poweroff() -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    connect(&socket, &SocketAddrUnix::new(CONTROL_SOCKET)?)?;
    let request = Request::Shutdown {
        action: ShutdownAction::Poweroff,
    };
    send(
        &socket,
        &serde_json::to_vec(&Envelope {
            version: VERSION,
            id: 1,
            request,
        })?,
        SendFlags::NOSIGNAL,
    )?;
    let mut buffer = vec![0; MAX_PACKET];
    let (length, _) = recv(&socket, &mut *buffer, RecvFlags::empty())?;
    let answer: Answer = serde_json::from_slice(buffer.get(..length).unwrap_or_default())?;
    match answer.reply {
        Reply::Error(why) => Err(io::Error::other(why)),
        _ => Ok(()),
    }
}

fn is_press(event: &[u8]) -> bool {
    let half = |at: usize| {
        event
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .copied()
            .map(u16::from_ne_bytes)
    };
    let value = event
        .get(20..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .map(i32::from_ne_bytes);
    (half(16), half(18), value) == (Some(EV_KEY), Some(KEY_POWER), Some(1))
}

/// Whether a bit is set in a bitmap of /sys: words of 64 bits in hex, the highest first.
fn has_key(bitmap: &str, key: u16) -> bool {
    let word = bitmap.split_whitespace().rev().nth(usize::from(key / 64));
    let bits = word
        .and_then(|word| u64::from_str_radix(word, 16).ok())
        .unwrap_or(0);
    bits >> (key % 64) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_button_is_known_by_its_keys() {
        // The ACPI power button, and a PC keyboard, as /sys shows them.
        assert!(has_key("10000000000000 0", KEY_POWER));
        assert!(has_key(
            "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe",
            1
        ));
        assert!(!has_key("1000000000000 0", KEY_POWER));
        assert!(!has_key("", KEY_POWER));
        assert!(!has_key("zz", 1));
    }

    #[test]
    fn only_a_press_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = vec![0; 16];
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&code.to_ne_bytes());
            bytes.extend_from_slice(&value.to_ne_bytes());
            bytes
        };
        assert!(is_press(&event(EV_KEY, KEY_POWER, 1)));
        assert!(!is_press(&event(EV_KEY, KEY_POWER, 0)));
        assert!(!is_press(&event(EV_KEY, 30, 1)));
        assert!(!is_press(&event(0, KEY_POWER, 1)));
        assert!(!is_press(&[0; 7]));
    }
}
