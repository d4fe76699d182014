//! Receiving what comes beside the bytes of a Unix socket: the sender's credentials and descriptors (unix(7)).
//!
//! Own, because a process of another pid namespace has pid 0 here, which the safe crates' types cannot hold.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};

/// Descriptors that one message may carry; the kernel drops the rest.
const FDS_MAX: usize = 8;

/// Who the kernel says sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Process, 0 where it cannot be seen from here.
    pub pid: i32,
    /// User.
    pub uid: u32,
}

/// A message, its bytes in the caller's buffer.
#[derive(Debug)]
pub(crate) struct Received {
    /// Bytes of the buffer that are filled.
    pub bytes: usize,
    /// The sender, where the socket has SO_PASSCRED.
    pub sender: Option<Credentials>,
    /// Descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Receives one message without waiting.
pub(crate) fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut space = nix::cmsg_space!([i32; FDS_MAX], libc::ucred);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<UnixAddr>(
        socket.as_fd().as_raw_fd(),
        &mut slices,
        Some(&mut space),
        flags,
    )?;
    let mut received = Received {
        bytes: message.bytes,
        sender: None,
        fds: Vec::new(),
    };
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::ScmCredentials(sender) => {
                received.sender = Some(Credentials {
                    pid: sender.pid(),
                    uid: sender.uid(),
                });
            }
            ControlMessageOwned::ScmRights(numbers) => {
                // SAFETY: the kernel just made these descriptors for this process, and nobody else has seen them.
                received.fds.extend(
                    numbers
                        .into_iter()
                        .map(|number| unsafe { OwnedFd::from_raw_fd(number) }),
                );
            }
            _ => {}
        }
    }
    Ok(received)
}
