//! ioctls of linux/loop.h.

use std::fs::File;
use std::os::fd::AsRawFd as _;

/// `LO_FLAGS_READ_ONLY` and `LO_FLAGS_AUTOCLEAR`: it goes with whoever has it open or mounted last.
const FLAGS: u32 = 1 | 4;

/// `struct loop_info64`, of which only the flags are used.
#[repr(C)]
struct Info {
    before: [u64; 5],
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

/// LOOP_CONFIGURE: shows the file `backing` as the block device, read-only, while somebody has it open.
pub(crate) fn attach(device: &File, backing: &File) -> std::io::Result<()> {
    let info = Info {
        before: [0; 5],
        numbers: [0; 2],
        encryption_key_size: 0,
        flags: FLAGS,
        names_and_key: [0; 160],
        init: [0; 2],
    };
    let fd = u32::try_from(backing.as_raw_fd()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
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
