//! What a line makes or changes, kind by kind.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use spec_layout::tmpfiles::Line;

use super::Outcome;
use super::place::{DEPTH_MAX, Found, Root, empty, list, remove as remove_at};

const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::CLOEXEC);

fn said(cause: impl ToString) -> String {
    cause.to_string()
}

/// `f`, `f+`.
pub(super) fn file(
    root: &Root,
    line: &Line,
    path: &str,
    content: &[u8],
    truncate: bool,
) -> Outcome {
    let (folder, name) = clear_way(root, line, path, FileType::RegularFile)?;
    let (file, new) = match rustix::fs::openat(
        &folder,
        name,
        CREATE | OFlags::NOFOLLOW,
        Mode::from_raw_mode(0o644),
    ) {
        Ok(fd) => (Some(fd), true),
        Err(Errno::EXIST) if truncate => {
            (Some(open_to_write(&folder, name, OFlags::TRUNC)?), false)
        }
        Err(Errno::EXIST) => (None, false),
        Err(cause) => return if_writable(root, path, cause),
    };
    if let Some(fd) = file {
        std::fs::File::from(fd).write_all(content).map_err(said)?;
    }
    settle(&folder, name, line, new, 0o644)
}

/// `w`, `w+`.
pub(super) fn write(root: &Root, path: &str, text: &str, append: bool) -> Outcome {
    let (folder, name) = root.parent(path, false)?;
    let fd = open_to_write(
        &folder,
        name,
        if append {
            OFlags::APPEND
        } else {
            OFlags::TRUNC
        },
    )?;
    std::fs::File::from(fd)
        .write_all(text.as_bytes())
        .map_err(said)
}

/// Opens an existing regular file; NONBLOCK so that a FIFO put in its place cannot hold PID 1.
fn open_to_write(folder: &OwnedFd, name: &str, how: OFlags) -> Result<OwnedFd, String> {
    let flags =
        OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(said)?;
    let stat = rustix::fs::fstat(&fd).map_err(said)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink > 1 {
        return Err("not a plain file with one name".to_owned());
    }
    drop(fd);
    rustix::fs::openat(folder, name, flags | how, Mode::empty()).map_err(said)
}

/// `d`, `D`.
pub(super) fn folder(root: &Root, line: &Line, path: &str, emptied: bool) -> Outcome {
    let (folder, name) = clear_way(root, line, path, FileType::Directory)?;
    let new = match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(cause) => return if_writable(root, path, cause),
    };
    if emptied && !new {
        empty(&folder, name, DEPTH_MAX).map_err(said)?;
    }
    settle(&folder, name, line, new, 0o755)
}

/// `e`.
pub(super) fn adjust_folder(root: &Root, line: &Line, path: &str) -> Outcome {
    match root.find(path)? {
        Some(found) if found.kind() == FileType::Directory => apply(&found, line, false),
        _ => Ok(()),
    }
}

/// `p`.
pub(super) fn fifo(root: &Root, line: &Line, path: &str) -> Outcome {
    node(root, line, path, FileType::Fifo, 0)
}

/// `c`, `b`.
pub(super) fn device(
    root: &Root,
    line: &Line,
    path: &str,
    number: &str,
    kind: FileType,
) -> Outcome {
    let parse = |text: &str| {
        text.parse::<u32>()
            .map_err(|_| format!("\"{number}\" is not MAJOR:MINOR"))
    };
    let (major, minor) = number.split_once(':').ok_or("no MAJOR:MINOR")?;
    node(
        root,
        line,
        path,
        kind,
        rustix::fs::makedev(parse(major)?, parse(minor)?),
    )
}

fn node(root: &Root, line: &Line, path: &str, kind: FileType, device: u64) -> Outcome {
    let (folder, name) = clear_way(root, line, path, kind)?;
    let new = match rustix::fs::mknodat(&folder, name, kind, Mode::from_raw_mode(0o644), device) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(cause) => return if_writable(root, path, cause),
    };
    settle(&folder, name, line, new, 0o644)
}

/// `L`, `L?`: what already stands there stays, unless the line says to replace it.
pub(super) fn link(root: &Root, line: &Line, path: &str, target: &str, if_target: bool) -> Outcome {
    if if_target {
        let from = Path::new(path).parent().unwrap_or(Path::new("/"));
        let target = from.join(target);
        if !matches!(root.find(&target.to_string_lossy()), Ok(Some(_))) {
            return Ok(());
        }
    }
    let (folder, name) = root.parent(path, true)?;
    if line.flags.replace
        && rustix::fs::readlinkat(&folder, name, Vec::new())
            .is_ok_and(|now| now.to_bytes() != target.as_bytes())
    {
        remove_at(&folder, name, false, 0).map_err(said)?;
    }
    let (folder, name) = clear_way(root, line, path, FileType::Symlink)?;
    match rustix::fs::symlinkat(target, &folder, name) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Ok(()),
        Err(cause) => if_writable(root, path, cause),
    }
}

/// `r`, `R`.
pub(super) fn remove(root: &Root, path: &str, all: bool) -> Outcome {
    let (folder, name) = root.parent(path, false)?;
    remove_at(&folder, name, all, DEPTH_MAX).map_err(said)
}

/// `z`, `Z`. Links have no mode of their own and are passed over.
pub(super) fn adjust(root: &Root, line: &Line, path: &str, all: bool) -> Outcome {
    let apply_one = |found: &Found| apply(found, line, false);
    each(root, path, all, &apply_one)
}

/// `t`, `T`: words `NAME=VALUE`.
pub(super) fn xattr(root: &Root, path: &str, words: &str, all: bool) -> Outcome {
    let set = |found: &Found| {
        words.split_whitespace().try_for_each(|word| {
            let (name, value) = word
                .split_once('=')
                .ok_or_else(|| format!("\"{word}\" is not NAME=VALUE"))?;
            let value = value.trim_matches('"').as_bytes();
            rustix::fs::setxattr(found.by_fd(), name, value, XattrFlags::empty()).map_err(said)
        })
    };
    each(root, path, all, &set)
}

fn each(root: &Root, path: &str, all: bool, act: &dyn Fn(&Found) -> Outcome) -> Outcome {
    let Some(found) = root.find(path)? else {
        return Ok(());
    };
    walk(&found, if all { DEPTH_MAX } else { 0 }, act)
}

fn walk(found: &Found, depth: usize, act: &dyn Fn(&Found) -> Outcome) -> Outcome {
    if found.kind() == FileType::Symlink {
        return Ok(());
    }
    let mut outcome = act(found);
    if depth > 0 && found.kind() == FileType::Directory {
        for name in list(&found.fd) {
            if let Some(inner) = Found::at(&found.fd, &name).map_err(said)? {
                outcome = outcome
                    .and(walk(&inner, depth - 1, act).map_err(|why| format!("{name}: {why}")));
            }
        }
    }
    outcome
}

/// Makes the folders above, and removes what is in the way if the line says so; else that is an error.
fn clear_way<'a>(
    root: &Root,
    line: &Line,
    path: &'a str,
    wanted: FileType,
) -> Result<(OwnedFd, &'a str), String> {
    let (folder, name) = root.parent(path, true)?;
    match Found::at(&folder, name).map_err(said)? {
        Some(found) if found.kind() != wanted => {
            // What stands in the way of a link is usually what an administrator put there.
            if !line.flags.replace && wanted == FileType::Symlink {
                return Ok((folder, name));
            }
            if !line.flags.replace {
                return Err(format!("{:?} is in the way", found.kind()));
            }
            remove_at(&folder, name, true, DEPTH_MAX).map_err(said)?;
        }
        _ => {}
    }
    Ok((folder, name))
}

/// In the read-only image nothing can be made, and what is there was put there by the builder.
fn if_writable(root: &Root, path: &str, cause: Errno) -> Outcome {
    match cause {
        Errno::ROFS if root.find(path)?.is_some() => Ok(()),
        cause => Err(said(cause)),
    }
}

/// Owner and mode of what was just made, or already stood there.
pub(super) fn settle(
    folder: &OwnedFd,
    name: &str,
    line: &Line,
    new: bool,
    default: u32,
) -> Outcome {
    let Some(found) = Found::at(folder, name).map_err(said)? else {
        return Err("it vanished while it was made".to_owned());
    };
    if new && line.mode.is_none() {
        // The process's own mask was applied when it was made.
        set_mode(&found, default)?;
    }
    apply(&found, line, new)
}

/// Sets what the line says. A file with a second name elsewhere may belong to somebody else: refused.
fn apply(found: &Found, line: &Line, new: bool) -> Outcome {
    let stat = &found.stat;
    if !new && found.kind() == FileType::RegularFile && stat.st_nlink > 1 {
        return Err("it has a second name; owner and mode are not changed".to_owned());
    }
    let wanted = |owner: Option<spec_layout::tmpfiles::Owner>, now: u32| {
        owner
            .filter(|owner| new || !owner.only_new)
            .map(|owner| owner.id)
            .filter(|&id| id != now)
    };
    let (user, group) = (
        wanted(line.user, stat.st_uid),
        wanted(line.group, stat.st_gid),
    );
    if user.is_some() || group.is_some() {
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        rustix::fs::chownat(&found.fd, "", user, group, AtFlags::EMPTY_PATH).map_err(said)?;
    }
    let Some(mode) = line.mode.filter(|mode| new || !mode.only_new) else {
        return Ok(());
    };
    let bits = if mode.masked {
        masked(mode.bits, stat.st_mode, found.kind())
    } else {
        mode.bits
    };
    if new || user.is_some() || group.is_some() || stat.st_mode & 0o7777 != bits {
        set_mode(found, bits)
    } else {
        Ok(())
    }
}

fn set_mode(found: &Found, bits: u32) -> Outcome {
    if found.kind() == FileType::Symlink {
        return Ok(());
    }
    std::fs::set_permissions(found.by_fd(), std::fs::Permissions::from_mode(bits)).map_err(said)
}

/// `~`: no right for anybody that nobody had before.
fn masked(bits: u32, now: u32, kind: FileType) -> u32 {
    let mut bits = bits;
    for right in [0o111, 0o222, 0o444] {
        if now & right == 0 {
            bits &= !right;
        }
    }
    if kind == FileType::Directory {
        bits
    } else {
        bits & 0o777
    }
}
