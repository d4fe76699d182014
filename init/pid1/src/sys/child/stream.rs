//! Standard input made of bytes, terminals, and waiting before all else.

use std::ffi::{CStr, c_int};
use std::os::fd::RawFd;

use spec_unit::plan::Taken;

use super::{Result, check, open, place};
use crate::unit::spawn::step::{Failure, TerminalSetup};

/// Longest that a program waits for all jobs, milliseconds.
const IDLE_MS: c_int = 5000;

/// Waits until the descriptor says that no job is left, at most [`IDLE_MS`].
pub(super) fn idle(fd: RawFd) -> Result {
    let mut polled = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd, which outlives the call. However it ends, the program runs.
    unsafe { libc::poll(&raw mut polled, 1, IDLE_MS) };
    Ok(())
}

/// Puts bytes in memory that nobody can change, and opens it for reading.
pub(super) fn data(bytes: &[u8], to: RawFd) -> Result {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let name = c"data".as_ptr();
    // SAFETY: the name ends in NUL. Kernels before 6.3 do not know the last flag.
    let fd = unsafe {
        match check(libc::memfd_create(name, flags | libc::MFD_NOEXEC_SEAL)) {
            Err(Failure(libc::EINVAL)) => check(libc::memfd_create(name, flags)),
            made => made,
        }
    }?;
    let mut rest = bytes;
    while !rest.is_empty() {
        // SAFETY: the buffer is as long as said.
        let written = unsafe { libc::write(fd, rest.as_ptr().cast(), rest.len()) };
        if written <= 0 {
            return Err(super::errno());
        }
        rest = rest.get(written as usize..).unwrap_or_default();
    }
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: takes no pointer; the descriptor was opened here.
    unsafe {
        check(libc::fcntl(fd, libc::F_ADD_SEALS, seals))?;
        check(libc::lseek(fd, 0, libc::SEEK_SET) as c_int)?;
    }
    place(fd, to)?;
    // Without /proc it stays open for writing, which the seals refuse.
    match to {
        0 => open(c"/proc/self/fd/0", libc::O_RDONLY, to).or(Ok(())),
        _ => Ok(()),
    }
}

/// Opens a terminal and makes it the session's.
pub(super) fn terminal(path: &CStr, taken: Taken, to: RawFd) -> Result {
    open(path, libc::O_RDWR, to)?;
    let steal = c_int::from(taken == Taken::Force);
    // SAFETY: takes no pointer.
    match (taken, unsafe { libc::ioctl(to, libc::TIOCSCTTY, steal) }) {
        (Taken::Force | Taken::Fail, -1) => Err(super::errno()),
        _ => Ok(()),
    }
}

/// Makes the terminal on standard input the session's. Its user may open it again by its name.
pub(super) fn session_terminal(uid: u32) -> Result {
    // SAFETY: takes no pointer. A terminal that cannot be given away still is the session's.
    unsafe {
        check(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
        if libc::fchown(0, uid, u32::MAX) == 0 {
            libc::fchmod(0, 0o620);
        }
    }
    Ok(())
}

/// Makes a terminal ready. Nothing of it can fail: what the terminal does not take is left.
pub(super) fn set_up(setup: &TerminalSetup) -> Result {
    if setup.hang_up {
        on(&setup.path, |fd| {
            // SAFETY: takes no pointer; the descriptor is open.
            unsafe { libc::ioctl(fd, libc::TIOCVHANGUP) };
        });
    }
    if setup.disallocate && !setup.number.is_some_and(disallocate) {
        on(&setup.path, clear);
    }
    if setup.reset || setup.rows > 0 || setup.columns > 0 {
        // Stays open until the program runs: with the last close of a terminal the kernel forgets its size.
        on_kept(&setup.path, |fd| {
            if setup.reset {
                reset(fd);
            }
            resize(fd, setup.rows, setup.columns);
        });
    }
    Ok(())
}

/// Does something with a terminal that is not ours, without waiting for a line that hangs.
fn on(path: &CStr, act: impl FnOnce(RawFd)) {
    let fd = on_kept(path, act);
    if fd >= 0 {
        // SAFETY: takes no pointer; the descriptor is our own.
        unsafe { libc::close(fd) };
    }
}

/// The same; the terminal stays open until exec, unless there is none.
fn on_kept(path: &CStr, act: impl FnOnce(RawFd)) -> RawFd {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: the path ends in NUL; the descriptor is our own.
    unsafe {
        let fd = libc::open(path.as_ptr(), flags);
        if fd >= 0 && libc::isatty(fd) == 1 {
            act(fd);
        }
        fd
    }
}

/// Frees a virtual terminal; not one that is in use.
fn disallocate(number: c_int) -> bool {
    const VT_DISALLOCATE: libc::Ioctl = 0x5608;
    let mut freed = false;
    on(c"/dev/tty0", |fd| {
        // SAFETY: takes a number.
        freed = unsafe { libc::ioctl(fd, VT_DISALLOCATE, number) } == 0;
    });
    freed
}

/// Clears the screen and what has scrolled off it.
fn clear(fd: RawFd) {
    let text = b"\x1b[r\x1b[H\x1b[J\x1b[3J";
    // SAFETY: the buffer is as long as said.
    unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) };
}

fn resize(fd: RawFd, rows: u16, columns: u16) {
    // SAFETY: struct winsize is plain data for which zero is valid, and outlives the calls.
    unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        if (rows, columns) == (0, 0) || libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) < 0 {
            return;
        }
        size.ws_row = if rows > 0 { rows } else { size.ws_row };
        size.ws_col = if columns > 0 { columns } else { size.ws_col };
        libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size);
    }
}

/// Text mode, no exclusive use, lines with echo, the usual keys.
fn reset(fd: RawFd) {
    const KDSETMODE: libc::Ioctl = 0x4b3a;
    const KD_TEXT: c_int = 0;
    // SAFETY: struct termios is plain data for which zero is valid, and outlives the calls.
    unsafe {
        libc::ioctl(fd, libc::TIOCNXCL);
        libc::ioctl(fd, KDSETMODE, KD_TEXT);
        let mut modes: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(fd, &raw mut modes) < 0 {
            return;
        }
        modes.c_iflag &=
            !(libc::IGNBRK | libc::BRKINT | libc::ISTRIP | libc::INLCR | libc::IGNCR | libc::IUCLC);
        modes.c_iflag |= libc::ICRNL | libc::IMAXBEL | libc::IUTF8;
        modes.c_oflag |= libc::ONLCR | libc::OPOST;
        modes.c_cflag |= libc::CREAD;
        modes.c_lflag = libc::ISIG
            | libc::ICANON
            | libc::IEXTEN
            | libc::ECHO
            | libc::ECHOE
            | libc::ECHOK
            | libc::ECHOCTL
            | libc::ECHOKE;
        let keys = [
            (libc::VINTR, 3),
            (libc::VQUIT, 28),
            (libc::VERASE, 127),
            (libc::VKILL, 21),
            (libc::VEOF, 4),
            (libc::VSTART, 17),
            (libc::VSTOP, 19),
            (libc::VSUSP, 26),
            (libc::VLNEXT, 22),
            (libc::VWERASE, 23),
            (libc::VREPRINT, 18),
            (libc::VEOL, 0),
            (libc::VEOL2, 0),
            (libc::VTIME, 0),
            (libc::VMIN, 1),
        ];
        for (key, value) in keys {
            if let Some(place) = modes.c_cc.get_mut(key) {
                *place = value;
            }
        }
        libc::tcsetattr(fd, libc::TCSANOW, &raw const modes);
        libc::tcflush(fd, libc::TCIOFLUSH);
    }
}
