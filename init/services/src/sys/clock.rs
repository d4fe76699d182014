//! Setting the kernel's clock: at once, clock_settime(2), or little by little, adjtimex(2).

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// By so much the time constant of the kernel's phase-locked loop is smaller than the exponent of the time between two
/// requests (kernel/time/ntp.c; a longer time between them than the loop expects makes it swing).
const POLL_OVER_CONSTANT: u32 = 4;
/// The largest time constant the kernel takes (MAXTC).
const MAX_CONSTANT: u32 = 10;

/// Sets CLOCK_REALTIME by `offset_ns` nanoseconds.
pub(crate) fn step(offset_ns: i64) -> io::Result<()> {
    let now = clock_gettime(ClockId::Realtime);
    let nanoseconds =
        i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec) + i128::from(offset_ns);
    let out_of_range = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let time = Timespec {
        tv_sec: i64::try_from(nanoseconds.div_euclid(1_000_000_000)).map_err(out_of_range)?,
        tv_nsec: i64::try_from(nanoseconds.rem_euclid(1_000_000_000)).map_err(out_of_range)?,
    };
    clock_settime(ClockId::Realtime, time)?;
    Ok(())
}

/// Has the kernel work an offset of at most half a second off, and tells it how far from the truth its clock may be:
/// from then on it says to whoever asks that it is synchronised, and keeps the hardware clock.
/// There are 2 to the power of `poll_exponent` seconds between two offsets.
pub(crate) fn slew(offset_ns: i64, error: Duration, poll_exponent: u32) -> io::Result<()> {
    let constant = poll_exponent.saturating_sub(POLL_OVER_CONSTANT);
    // SAFETY: timex is plain integers, for which zero is a value; the kernel reads those that `modes` names.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    let microseconds = libc::c_long::try_from(error.as_micros()).unwrap_or(libc::c_long::MAX);
    timex.modes = libc::ADJ_OFFSET
        | libc::ADJ_STATUS
        | libc::ADJ_NANO
        | libc::ADJ_TIMECONST
        | libc::ADJ_MAXERROR
        | libc::ADJ_ESTERROR;
    timex.status = libc::STA_PLL | libc::STA_NANO;
    timex.constant = libc::c_long::from(constant.min(MAX_CONSTANT));
    timex.offset = libc::c_long::from(offset_ns);
    timex.maxerror = microseconds;
    timex.esterror = microseconds;
    // SAFETY: a valid timex that lives through the call, which writes within it.
    if unsafe { libc::adjtimex(&raw mut timex) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
