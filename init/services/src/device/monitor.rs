//! The kernel's uevents by netlink. Anything that did not come from the kernel is dropped.

use std::io;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SocketFlags, SocketType, bind,
    recvmsg, socket_with, sockopt,
};

use crate::device::uevent::{Device, MESSAGE_MAX};

/// Multicast group of the kernel; 2 is udev's.
const KERNEL_GROUP: u32 = 1;
/// A machine with many disks sends thousands of events at once.
const SOCKET_BUFFER: usize = 16 << 20;

/// The socket.
pub(crate) struct Monitor {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// An event.
    Device(Box<Device>),
    /// Something else, passed over.
    Nothing,
    /// No more for now.
    Empty,
    /// Events were lost: look at all devices anew.
    Overrun,
}

impl Monitor {
    /// Subscribes.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(KOBJECT_UEVENT),
        )?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER)?;
        }
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self {
            socket,
            buffer: vec![0; MESSAGE_MAX],
        })
    }

    /// For epoll.
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The next event.
    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        let mut control = RecvAncillaryBuffer::default();
        let slice = &mut [IoSliceMut::new(&mut self.buffer)];
        let message = match recvmsg(&self.socket, slice, &mut control, RecvFlags::DONTWAIT) {
            Ok(message) => message,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Empty),
            Err(Errno::NOBUFS) => return Ok(Received::Overrun),
            Err(error) => return Err(error.into()),
        };
        let sender = message
            .address
            .and_then(|address| SocketAddrNetlink::try_from(address).ok());
        // Only the kernel has port 0: what another process sends carries that process's own.
        let from_kernel = sender.is_some_and(|sender| sender.pid() == 0);
        if !from_kernel || message.flags.contains(ReturnFlags::TRUNC) {
            return Ok(Received::Nothing);
        }
        let device = self.buffer.get(..message.bytes).and_then(Device::parse);
        Ok(device.map_or(Received::Nothing, |device| {
            Received::Device(Box::new(device))
        }))
    }
}
