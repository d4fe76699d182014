//! ioctls of linux/blkpg.h, linux/fs.h and linux/cdrom.h.

use std::fs::File;
use std::os::fd::AsRawFd as _;

const ADD: i32 = 1;
const RESIZE: i32 = 3;

/// `struct blkpg_partition`.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: i32,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Argument {
    operation: i32,
    flags: i32,
    length: i32,
    data: *mut Partition,
}

mod ioctl {
    nix::ioctl_write_ptr_bad!(blkpg, 0x1269, super::Argument);
    nix::ioctl_write_int_bad!(cdrom_drive_status, 0x5326);
}

/// Whether this is a drive for discs that says it has none that can be read: none, an open tray, or not ready.
pub(crate) fn lacks_disc(device: &File) -> bool {
    /// `CDSL_CURRENT`: the disc in the drive, not one of a changer.
    const CURRENT: i32 = i32::MAX;
    /// `CDS_NO_DISC`, `CDS_TRAY_OPEN`, `CDS_DRIVE_NOT_READY`.
    const LACKING: [i32; 3] = [1, 2, 3];
    // SAFETY: takes a number and no pointer. What is no such drive refuses it.
    let status = unsafe { ioctl::cdrom_drive_status(device.as_raw_fd(), CURRENT) };
    status.is_ok_and(|status| LACKING.contains(&status))
}

/// Tells the kernel of a partition that was added to a disk in use. Bytes.
pub(crate) fn add_partition(
    disk: &File,
    number: u32,
    start: u64,
    length: u64,
) -> std::io::Result<()> {
    partition(disk, ADD, number, start, length)
}

/// Tells the kernel that a partition has grown. Bytes.
pub(crate) fn resize_partition(
    disk: &File,
    number: u32,
    start: u64,
    length: u64,
) -> std::io::Result<()> {
    partition(disk, RESIZE, number, start, length)
}

fn partition(
    disk: &File,
    operation: i32,
    number: u32,
    start: u64,
    length: u64,
) -> std::io::Result<()> {
    let wrong = |_| std::io::Error::from(std::io::ErrorKind::InvalidInput);
    let mut partition = Partition {
        start: i64::try_from(start).map_err(wrong)?,
        length: i64::try_from(length).map_err(wrong)?,
        number: i32::try_from(number).map_err(wrong)?,
        names: [0; 128],
    };
    let length = size_of::<Partition>() as i32;
    let argument = Argument {
        operation,
        flags: 0,
        length,
        data: &mut partition,
    };
    // SAFETY: both structs have the layout of linux/blkpg.h (checked below) and outlive the call, which only reads
    // them.
    unsafe { ioctl::blkpg(disk.as_raw_fd(), &argument) }?;
    Ok(())
}

const _: () = assert!(size_of::<Partition>() == 152 && size_of::<Argument>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_drive_for_discs_lacks_none() {
        assert!(!lacks_disc(&File::open("/dev/null").unwrap()));
        assert!(!lacks_disc(&tempfile::tempfile().unwrap()));
    }
}
