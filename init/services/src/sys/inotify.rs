//! inotify(7) as a descriptor to wait for.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Watches a folder for files that come to be there, whole: each makes the descriptor readable.
pub(crate) fn files_in(folder: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let what = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR;
    inotify::add_watch(&fd, folder, what)?;
    // SAFETY: the descriptor is owned by what is registered, which closes it after the registration ends.
    Ok(unsafe { AsyncFd::register(fd) }?)
}
