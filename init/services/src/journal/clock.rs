//! The time of an entry, and of which boot it is.

use rustix::time::{ClockId, clock_gettime};

use crate::journal::entry::{Entry, parse_boot_id};

/// The two clocks and the boot id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    boot_id: [u8; 16],
}

impl Clock {
    /// Reads the boot id.
    pub(crate) fn new() -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            boot_id: parse_boot_id(&text).unwrap_or_default(),
        }
    }

    /// A clock of no boot.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self { boot_id: [0; 16] }
    }

    /// Gives an entry that came in now its times and its boot.
    pub(crate) fn stamp(&self, entry: &mut Entry) {
        entry.boot_id = self.boot_id;
        entry.realtime_us = micros(ClockId::Realtime);
        entry.monotonic_us = micros(ClockId::Boottime);
    }

    /// Gives a kernel record, which knows its time since boot, its boot and its time of day.
    pub(crate) fn stamp_kernel(&self, entry: &mut Entry) {
        entry.boot_id = self.boot_id;
        let age = micros(ClockId::Boottime).saturating_sub(entry.monotonic_us);
        entry.realtime_us = micros(ClockId::Realtime).saturating_sub(age);
    }
}

fn micros(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    (time.tv_sec.max(0) as u64) * 1_000_000 + (time.tv_nsec.max(0) as u64) / 1000
}
