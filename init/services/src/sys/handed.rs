//! Descriptors that PID 1 hands over, sd_listen_fds(3).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of the first.
const FIRST: RawFd = 3;
/// Most that are taken.
const MOST: usize = 4096;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes them, each with its name, once: a second call finds none. To be called before anything is opened.
pub(crate) fn take() -> Vec<(String, OwnedFd)> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
    let own = number("LISTEN_PID") == Some(std::process::id() as usize);
    if !own || TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).min(MOST);
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let numbers = (FIRST..).take(count);
    numbers
        .filter_map(|number| {
            let name = names.next().unwrap_or_default().to_string();
            // SAFETY: takes no pointer; a number that is not open is an error.
            let open = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
            // SAFETY: PID 1 opened it for this process, as LISTEN_PID says, and nobody else has taken it: this runs once.
            open.then(|| (name, unsafe { OwnedFd::from_raw_fd(number) }))
        })
        .collect()
}
