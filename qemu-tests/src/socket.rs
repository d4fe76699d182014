//! Unix sockets in folders with long names.
//!
//! A socket address holds 107 bytes (unix(7)); a cluster's folder may be deeper. The folder is opened
//! and the socket named through /proc/self/fd, which has no such limit.

use crate::error::{Error, Result};
use rustix::fs::{Mode, OFlags};
use std::{
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// Listens on `path`, in place of what was there.
pub fn bind(path: &Path) -> Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", path)(error));
        }
        _ => {}
    }
    let (_folder, short) = short(path)?;
    UnixListener::bind(short).map_err(Error::io("listen on", path))
}

/// Connects to `path`.
pub fn connect(path: &Path) -> Result<UnixStream> {
    let (_folder, short) = short(path)?;
    UnixStream::connect(short).map_err(Error::io("connect to", path))
}

fn short(path: &Path) -> Result<(OwnedFd, PathBuf)> {
    let name = path
        .file_name()
        .ok_or_else(|| Error::Refused(format!("{}: a socket needs a name", path.display())))?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let folder = rustix::fs::open(
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| Error::io("open", parent)(error.into()))?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok((folder, short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_deeper_than_a_socket_address_works() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("port.sock");
        let listener = bind(&path).unwrap();
        connect(&path).unwrap();
        listener.accept().unwrap();
        drop(listener);
        bind(&path).unwrap();
    }
}
