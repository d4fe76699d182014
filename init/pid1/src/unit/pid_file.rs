//! The file in which a forking service tells the number of its main process.
//!
//! It lies below /run, in memory, so that reading it waits for no disk. The service may own the folder: no link is
//! followed on the way, and no other file system entered, which may be one that answers nobody.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat2, unlinkat};
use rustix::io::Errno;
use spec_unit::directive::service::PID_FILES;

/// Most bytes that are read; a number and a line feed have 11.
const MAX: u64 = 64;
/// Neither a link is followed nor a mount entered.
const PLAIN: ResolveFlags = ResolveFlags::NO_SYMLINKS
    .union(ResolveFlags::NO_XDEV)
    .union(ResolveFlags::BENEATH);

/// The number that it holds.
pub(crate) fn read(path: &str) -> Result<i32, String> {
    read_below(Path::new(PID_FILES), Path::new(path))
}

/// Removes it; one that is not there is fine.
pub(crate) fn remove(path: &str) -> io::Result<()> {
    remove_below(Path::new(PID_FILES), Path::new(path))
}

fn read_below(base: &Path, path: &Path) -> Result<i32, String> {
    let text = content(base, path).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => "it is not there yet".to_owned(),
        Some(libc::EXDEV) => "it is on another file system than /run".to_owned(),
        _ => error.to_string(),
    })?;
    let number = text.trim().parse::<i32>().ok().filter(|pid| *pid > 1);
    number.ok_or_else(|| "it holds no process number".to_owned())
}

fn content(base: &Path, path: &Path) -> io::Result<String> {
    let (folder, name) = folder(base, path)?;
    // Without waiting, should it be a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat2(&folder, name, flags, Mode::empty(), PLAIN)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    file.take(MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn remove_below(base: &Path, path: &Path) -> io::Result<()> {
    let removed = folder(base, path)
        .and_then(|(folder, name)| Ok(unlinkat(&folder, name, AtFlags::empty())?));
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Its folder, opened without leaving the base, and its name there.
fn folder<'a>(base: &Path, path: &'a Path) -> io::Result<(OwnedFd, &'a std::ffi::OsStr)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let below = parent.strip_prefix(base).map_err(|_| Errno::XDEV)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base = openat2(CWD, base, flags, Mode::empty(), ResolveFlags::empty())?;
    if below.as_os_str().is_empty() {
        return Ok((base, name));
    }
    let folder = openat2(&base, below, flags, Mode::empty(), PLAIN)?;
    Ok((folder, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As below /run, in a folder of the test's own.
    fn read(path: &str) -> Result<i32, String> {
        read_below(&std::env::temp_dir(), Path::new(path))
    }

    fn remove(path: &str) -> io::Result<()> {
        remove_below(&std::env::temp_dir(), Path::new(path))
    }

    #[test]
    fn no_other_file_system_is_entered() {
        // One that everybody has: /proc is another file system than the root.
        let told = read_below(Path::new("/"), Path::new("/proc/sys/kernel/pid_max"));
        assert!(told.unwrap_err().contains("another file system"));
        let removed = remove_below(Path::new("/"), Path::new("/proc/sys/none"));
        assert_eq!(removed.unwrap_err().raw_os_error(), Some(libc::EXDEV));
        let told = read_below(Path::new("/run"), Path::new("/proc/none"));
        assert!(told.is_err(), "not below the base");
    }

    #[test]
    fn a_number_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pid");
        let text = path.to_str().unwrap();
        assert!(read(text).unwrap_err().contains("not there yet"));
        for (content, wanted) in [
            ("42\n", Some(42)),
            (" 7 ", Some(7)),
            ("1\n", None),
            ("-5", None),
            ("", None),
            ("seven", None),
            (&"9".repeat(100), None),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(text).ok(), wanted, "{content}");
        }
        remove(text).unwrap();
        remove(text).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn no_link_is_followed_and_no_pipe_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join("a.pid"), "42\n").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let through = link.join("a.pid");
        assert!(read(through.to_str().unwrap()).is_err());
        assert!(remove(through.to_str().unwrap()).is_err());
        assert!(real.join("a.pid").exists());
        std::os::unix::fs::symlink(real.join("a.pid"), real.join("b.pid")).unwrap();
        assert!(read(real.join("b.pid").to_str().unwrap()).is_err());
        let pipe = real.join("pipe");
        rustix::fs::mknodat(
            CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let told = read(pipe.to_str().unwrap()).unwrap_err();
        assert!(told.contains("no regular file"), "{told}");
    }
}
