//! ioctls of linux/loop.h.

use std::fs::File;
use std::os::fd::{AsRawFd as _, RawFd};

const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: [u64; 3],
    offset: u64,
    size_limit: u64,
    numbers: [u32; 2],
    encryption_key_size: u32,
    flags: u32,
    names_and_key: [u8; 160],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

mod ioctl {
    nix::ioctl_none_bad!(get_free, 0x4c82);
    nix::ioctl_write_ptr_bad!(configure, 0x4c0a, super::Config);
}

/// LOOP_CTL_GET_FREE: number of a loop device that is not in use.
pub(crate) fn free(control: &File) -> std::io::Result<i32> {
    // SAFETY: takes no argument.
    Ok(unsafe { ioctl::get_free(control.as_raw_fd()) }?)
}

/// What a loop device shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backing {
    /// A file, or another block device.
    pub(crate) file: RawFd,
    /// First byte of it.
    pub(crate) offset: u64,
    /// How many bytes; 0 for all.
    pub(crate) length: u64,
    /// The device lets go of the file when nobody has it open.
    pub(crate) goes_with_last_user: bool,
}

/// LOOP_CONFIGURE: shows a file as the block device, read-only.
pub(crate) fn attach(device: &File, backing: &Backing) -> std::io::Result<()> {
    let goes = if backing.goes_with_last_user {
        AUTOCLEAR
    } else {
        0
    };
    let info = Info {
        device: [0; 3],
        offset: backing.offset,
        size_limit: backing.length,
        numbers: [0; 2],
        encryption_key_size: 0,
        flags: READ_ONLY | goes,
        names_and_key: [0; 160],
        init: [0; 2],
    };
    let fd = u32::try_from(backing.file).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    let config = Config {
        fd,
        block_size: 0,
        info,
        reserved: [0; 8],
    };
    // SAFETY: the struct has the layout of linux/loop.h (checked below) and outlives the call.
    unsafe { ioctl::configure(device.as_raw_fd(), &config) }?;
    Ok(())
}

const _: () = assert!(size_of::<Info>() == 232 && size_of::<Config>() == 304);
