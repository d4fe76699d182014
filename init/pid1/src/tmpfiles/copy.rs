//! `C`, `C+`: copying a file or a tree out of the image.

use std::fs::{self, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use spec_layout::tmpfiles::Line;

use super::Outcome;
use super::make::settle;
use super::place::{DEPTH_MAX, Root, list};

/// Copies `source` unless the target is already there; into a folder only if that is empty, or if `merge`.
pub(super) fn copy(root: &Root, line: &Line, path: &str, source: &str, merge: bool) -> Outcome {
    let source = Path::new(source);
    let Ok(from) = fs::symlink_metadata(source) else {
        return Ok(());
    };
    let (folder, name) = root.parent(path, true)?;
    let there = root.find(path)?;
    let fresh = there.is_none();
    let empty = there.is_some_and(|found| {
        found.kind() == rustix::fs::FileType::Directory && list(&found.fd).is_empty()
    });
    if fresh || empty || merge {
        tree(source, &from, &folder, name, DEPTH_MAX)
            .map_err(|cause| format!("from {}: {cause}", source.display()))?;
    }
    if line.mode.is_some() || line.user.is_some() || line.group.is_some() {
        return settle(&folder, name, line, fresh, from.mode() & 0o7777);
    }
    Ok(())
}

/// Copies one file with owner and mode; what already has the name is left alone, folders are gone into.
fn tree(
    source: &Path,
    from: &Metadata,
    folder: &OwnedFd,
    name: &str,
    depth: usize,
) -> std::io::Result<()> {
    let kind = from.file_type();
    let mode = Mode::from_raw_mode(from.mode() & 0o7777);
    let made = if kind.is_dir() {
        rustix::fs::mkdirat(folder, name, mode)
    } else if kind.is_symlink() {
        rustix::fs::symlinkat(fs::read_link(source)?, folder, name)
    } else if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
        rustix::fs::mknodat(
            folder,
            name,
            rustix::fs::FileType::from_raw_mode(from.mode()),
            mode,
            from.rdev(),
        )
    } else {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(folder, name, flags, mode) {
            Ok(to) => {
                std::io::copy(&mut fs::File::open(source)?, &mut fs::File::from(to))?;
                Ok(())
            }
            Err(cause) => Err(cause),
        }
    };
    match made {
        Ok(()) => own(from, folder, name, mode, kind.is_symlink())?,
        Err(Errno::EXIST) => {}
        Err(cause) => return Err(cause.into()),
    }
    if kind.is_dir() && depth > 0 {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = rustix::fs::openat(folder, name, flags, Mode::empty())?;
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            tree(
                &entry.path(),
                &fs::symlink_metadata(entry.path())?,
                &inner,
                &name,
                depth - 1,
            )?;
        }
    }
    Ok(())
}

fn own(
    from: &Metadata,
    folder: &OwnedFd,
    name: &str,
    mode: Mode,
    link: bool,
) -> std::io::Result<()> {
    let (user, group) = (Uid::from_raw(from.uid()), Gid::from_raw(from.gid()));
    match rustix::fs::chownat(
        folder,
        name,
        Some(user),
        Some(group),
        AtFlags::SYMLINK_NOFOLLOW,
    ) {
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => {}
        other => other?,
    }
    if !link {
        let file = rustix::fs::openat(
            folder,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        use std::os::fd::AsRawFd as _;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::chmodat(rustix::fs::CWD, path, mode, AtFlags::empty())?;
    }
    Ok(())
}
