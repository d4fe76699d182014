//! bpf(2): a program for a control group.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use crate::bpf::Instruction;

/// Where a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attach {
    /// BPF_CGROUP_DEVICE.
    Devices,
    /// BPF_CGROUP_INET_INGRESS.
    Ingress,
    /// BPF_CGROUP_INET_EGRESS.
    Egress,
    /// BPF_CGROUP_INET4_BIND.
    Bind4,
    /// BPF_CGROUP_INET6_BIND.
    Bind6,
}

impl Attach {
    /// Type of the program, and of the attachment: `enum bpf_prog_type` and `enum bpf_attach_type`.
    fn numbers(self) -> (u32, u32) {
        match self {
            Self::Devices => (15, 6),
            Self::Ingress => (8, 0),
            Self::Egress => (8, 1),
            Self::Bind4 => (18, 8),
            Self::Bind6 => (18, 9),
        }
    }
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
/// The programs of a service's own groups, if it may make some, hold besides.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The start of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach: u32,
}

/// The start of `union bpf_attr` for BPF_PROG_ATTACH.
#[repr(C)]
#[derive(Default)]
struct To {
    group: u32,
    program: u32,
    attach: u32,
    flags: u32,
}

/// Loads a program and attaches it to a control group, with which it goes.
pub(crate) fn attach(
    group: BorrowedFd<'_>,
    attach: Attach,
    program: &[Instruction],
) -> io::Result<()> {
    let (kind, at) = attach.numbers();
    let mut load = Load {
        kind,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        attach: at,
        ..Load::default()
    };
    // SAFETY: the structure is as long as said; the pointers in it are to data that outlives the call.
    let fd = unsafe { call(BPF_PROG_LOAD, (&raw mut load).cast(), size_of::<Load>())? };
    // SAFETY: a new descriptor that nobody else owns.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut to = To {
        group: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        attach: at,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the structure is as long as said and holds no pointer.
    unsafe { call(BPF_PROG_ATTACH, (&raw mut to).cast(), size_of::<To>()) }.map(drop)
}

/// SAFETY: `attributes` must be `size` bytes that make sense for the command.
unsafe fn call(
    command: libc::c_int,
    attributes: *mut libc::c_void,
    size: usize,
) -> io::Result<libc::c_int> {
    // SAFETY: as the caller promises.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    match result {
        0.. => Ok(result as libc::c_int),
        _ => Err(io::Error::last_os_error()),
    }
}
