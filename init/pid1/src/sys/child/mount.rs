//! The file systems of a child: system calls of mount_namespaces(7), fsopen(2), open_tree(2), move_mount(2),
//! mount_setattr(2).

use std::ffi::{CStr, c_int};
use std::os::fd::{AsFd as _, BorrowedFd, IntoRawFd as _, OwnedFd, RawFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use spec_unit::plan::filter::HARMLESS_DEVICES;

use super::{Result, check};
use crate::unit::spawn::step::{Attributes, Failure, NewFileSystem};

/// A descriptor that is not there: what was to be mounted is missing, and may be.
pub(super) const NONE: RawFd = -1;

type Made = std::result::Result<OwnedFd, Failure>;

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOEXEC: u64 = 8;

pub(super) fn failure(errno: rustix::io::Errno) -> Failure {
    Failure(errno.raw_os_error())
}

/// The descriptor as one that lives as long as the call.
pub(super) fn borrow<'a>(fd: RawFd) -> std::result::Result<BorrowedFd<'a>, Failure> {
    if fd < 0 {
        return Err(Failure(libc::EBADF));
    }
    // SAFETY: it is not -1; it was opened by this child, which closes none before it is done with it.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// A mount namespace of its own: PID 1's mounts reach it or not, its own reach nobody.
pub(super) fn unshare(isolated: bool) -> Result {
    let flags = libc::MS_REC
        | if isolated {
            libc::MS_PRIVATE
        } else {
            libc::MS_SLAVE
        };
    let null = std::ptr::null();
    // SAFETY: the path ends in NUL; no other pointer is passed but null.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let root = c"/".as_ptr();
        check(libc::mount(null, root, null, flags, std::ptr::null())).map(drop)
    }
}

/// A copy of what is mounted at a path, mounted nowhere. What may be missing becomes [`NONE`].
pub(super) fn tree(
    path: &CStr,
    recursive: bool,
    missing_ok: bool,
) -> std::result::Result<RawFd, Failure> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    match open_tree(rustix::fs::CWD, path, flags) {
        Ok(tree) => Ok(tree.into_raw_fd()),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) if missing_ok => Ok(NONE),
        Err(errno) => Err(failure(errno)),
    }
}

/// Whether nothing stands at a path.
pub(super) fn is_missing(path: &CStr) -> bool {
    let found = rustix::fs::access(path, rustix::fs::Access::EXISTS);
    matches!(
        found,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR)
    )
}

/// A copy of that of the nodes which nobody can open (folder, file, character and block device) which is of the kind that
/// is at the path within a root; without one, within that of this process.
pub(super) fn inaccessible(
    root: Option<RawFd>,
    path: &CStr,
    [folder, file, character, block]: &[std::ffi::CString; 4],
    missing_ok: bool,
) -> std::result::Result<RawFd, Failure> {
    let node = match kind_within(root, path) {
        Err(Failure(libc::ENOENT | libc::ENOTDIR)) if missing_ok => return Ok(NONE),
        Err(failure) => return Err(failure),
        Ok(FileType::Directory) => folder,
        Ok(FileType::CharacterDevice) => character,
        Ok(FileType::BlockDevice) => block,
        Ok(_) => file,
    };
    tree(node, false, false)
}

/// The kind of what a path within a root leads to, links followed as they are there.
fn kind_within(root: Option<RawFd>, path: &CStr) -> std::result::Result<FileType, Failure> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let within = rustix::fs::ResolveFlags::IN_ROOT;
    let found = match root {
        None => rustix::fs::open(path, flags, Mode::empty()),
        Some(root) => rustix::fs::openat2(borrow(root)?, path, flags, Mode::empty(), within),
    };
    kind(found.map_err(failure)?.as_fd(), c"")
}

fn kind(at: BorrowedFd<'_>, path: &CStr) -> std::result::Result<FileType, Failure> {
    let flags = match path.is_empty() {
        true => rustix::fs::AtFlags::EMPTY_PATH,
        false => rustix::fs::AtFlags::empty(),
    };
    let status = rustix::fs::statat(at, path, flags).map_err(failure)?;
    Ok(FileType::from_raw_mode(status.st_mode))
}

/// A new file system, mounted nowhere.
pub(super) fn new(new: &NewFileSystem) -> Made {
    let context = fsopen(new.kind.as_c_str(), FsOpenFlags::FSOPEN_CLOEXEC).map_err(failure)?;
    for (key, value) in &new.options {
        match value {
            Some(value) => fsconfig_set_string(&context, key.as_c_str(), value.as_c_str()),
            None => fsconfig_set_flag(&context, key.as_c_str()),
        }
        .map_err(failure)?;
    }
    fsconfig_create(&context).map_err(failure)?;
    let mut flags = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    if new.devices {
        flags = MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_NOSUID;
    }
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(failure)
}

/// Links and folders of a `/dev`.
const LINKS: [(&CStr, &CStr); 6] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"ptmx", c"pts/ptmx"),
    (c"log", c"/run/systemd/journal/dev-log"),
];
const FOLDERS: [&CStr; 4] = [c"pts", c"shm", c"mqueue", c"hugepages"];

/// Fills a new tmpfs as a `/dev`. A node that may not be made becomes a place to mount it on: the control group is held
/// to its devices before this child is born in it.
pub(super) fn devices(tree: RawFd) -> Result {
    let tree = borrow(tree)?;
    // SAFETY: takes no pointer and cannot fail. The mask of the child is set later.
    unsafe { libc::umask(0) };
    for (name, major, minor) in HARMLESS_DEVICES {
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(0o666);
        let kind = FileType::CharacterDevice;
        match rustix::fs::mknodat(tree, name, kind, mode, device) {
            Err(rustix::io::Errno::PERM) => {
                rustix::fs::mknodat(tree, name, FileType::RegularFile, Mode::empty(), 0)
            }
            made => made,
        }
        .map_err(failure)?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, tree, name).map_err(failure)?;
    }
    for name in FOLDERS {
        rustix::fs::mkdirat(tree, name, Mode::from_raw_mode(0o755)).map_err(failure)?;
    }
    Ok(())
}

/// Makes a folder or an empty file to mount a tree on, where nothing is there.
pub(super) fn mount_point(tree: RawFd, parents: &[std::ffi::CString], path: &CStr) -> Result {
    if tree == NONE || rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok() {
        return Ok(());
    }
    let at = rustix::fs::CWD;
    let folder = Mode::from_raw_mode(0o755);
    for parent in parents {
        match rustix::fs::mkdirat(at, parent.as_c_str(), folder) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            // Told when it is mounted: a parent may be on what cannot be written and be there.
            Err(_) => {}
        }
    }
    if kind(borrow(tree)?, c"")? == FileType::Directory {
        return rustix::fs::mkdirat(at, path, folder).map_err(failure);
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(at, path, flags, Mode::from_raw_mode(0o644))
        .map(drop)
        .map_err(failure)
}

/// Mounts a tree, with its attributes, and gives its descriptor back.
pub(super) fn attach(tree: RawFd, path: &CStr, attributes: Attributes, missing_ok: bool) -> Result {
    if tree == NONE {
        return Ok(());
    }
    set(tree, c"", WHOLE, attributes)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    let moved = move_mount(borrow(tree)?, c"", rustix::fs::CWD, path, flags);
    // SAFETY: it was opened by this child and is not used again.
    unsafe { libc::close(tree) };
    match moved {
        Err(rustix::io::Errno::NOENT) if missing_ok => Ok(()),
        moved => moved.map_err(failure),
    }
}

/// Makes what is mounted at a path, or a tree, read-only or closed to execution; with
/// AT_RECURSIVE all that is mounted in it too.
pub(super) fn set(at: RawFd, path: &CStr, flags: c_int, attributes: Attributes) -> Result {
    let mut set = 0;
    if attributes.read_only {
        set |= MOUNT_ATTR_RDONLY;
    }
    if attributes.no_exec {
        set |= MOUNT_ATTR_NOEXEC;
    }
    if set == 0 {
        return Ok(());
    }
    set_attributes(at, path, flags, |attributes| attributes.attr_set = set)
}

fn set_attributes(
    at: RawFd,
    path: &CStr,
    flags: c_int,
    change: impl FnOnce(&mut MountAttr),
) -> Result {
    let mut attr = MountAttr {
        attr_set: 0,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    change(&mut attr);
    // SAFETY: the path ends in NUL, the structure has the kernel's layout and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at,
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(result as c_int).map(drop)
}

/// All of a tree, which is mounted nowhere.
const WHOLE: c_int = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;

/// What is mounted in a tree that was handed over reaches nobody: a copy of a shared mount is as shared as that was.
pub(super) fn keep_to_itself(tree: RawFd, isolated: bool) -> Result {
    let propagation = if isolated {
        libc::MS_PRIVATE
    } else {
        libc::MS_SLAVE
    };
    set_attributes(tree, c"", WHOLE, |attr| attr.propagation = propagation)
}

/// Files in a tree have the owners that a user namespace numbers so. It must be mounted nowhere, and not mapped yet.
pub(super) fn idmap(tree: RawFd, users: RawFd) -> Result {
    const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    if tree == NONE {
        return Ok(());
    }
    let users = u64::try_from(users).map_err(|_| Failure(libc::EBADF))?;
    set_attributes(tree, c"", WHOLE, |attr| {
        (attr.attr_set, attr.userns_fd) = (MOUNT_ATTR_IDMAP, users);
    })
}

/// Makes a tree the root of this mount namespace, and lets go of the old one.
pub(super) fn root(tree: RawFd) -> Result {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(borrow(tree)?, c"", rustix::fs::CWD, c"/run", flags).map_err(failure)?;
    // SAFETY: every path ends in NUL.
    unsafe {
        check(libc::chdir(c"/run".as_ptr()))?;
        check(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) as c_int)?;
        check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH))?;
        check(libc::chdir(c"/".as_ptr())).map(drop)
    }
}
