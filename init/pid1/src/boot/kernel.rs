//! The few kernel settings that a node may not run without, whatever its image says.
//!
//! Source: Documentation/admin-guide/sysctl/{fs,kernel,net,vm}.rst.

use crate::error::{Error, Result, What};

/// File below /proc/sys, value, reason.
const SETTINGS: &[(&str, &str, &str)] = &[
    (
        "fs/protected_hardlinks",
        "1",
        "a link to another's file cannot borrow its rights",
    ),
    (
        "fs/protected_symlinks",
        "1",
        "a link in /tmp cannot lead a privileged program astray",
    ),
    ("fs/protected_fifos", "2", "nor a FIFO"),
    ("fs/protected_regular", "2", "nor a file"),
    (
        "kernel/core_pattern",
        "|/bin/false",
        "nobody reads core files, and nothing shall write the memory of services down",
    ),
    (
        "kernel/dmesg_restrict",
        "1",
        "the kernel log holds addresses",
    ),
    ("kernel/kptr_restrict", "1", "so does /proc"),
    (
        "net/unix/max_dgram_qlen",
        "512",
        "a burst of log or notify messages does not make its sender wait",
    ),
];

/// Seconds until a panicked kernel reboots, if the command line names none.
const PANIC_SECONDS: &str = "10";

/// Room is made in the background from so much free memory on, so that PID 1 seldom has to make it: a hundredth of all,
/// and at most 1 GiB.
const ROOM: (u64, u64) = (100, 1 << 30);

/// What vm.watermark_scale_factor is for that, in ten-thousandths of all memory; not below the kernel's own 10.
fn watermark(memory: u64) -> u64 {
    let (part, most) = ROOM;
    let room = (memory / part).min(most);
    room.saturating_mul(10_000)
        .checked_div(memory)
        .unwrap_or(0)
        .max(10)
}

/// Writes them all; says every one that failed.
pub(super) fn set() -> Result<()> {
    let panic = "/proc/sys/kernel/panic";
    if std::fs::read_to_string(panic).is_ok_and(|seconds| seconds.trim() == "0") {
        std::fs::write(panic, PANIC_SECONDS).map_err(Error::at(What::Kernel, panic))?;
    }
    let system = rustix::system::sysinfo();
    let memory = (system.totalram as u64).saturating_mul(u64::from(system.mem_unit));
    let watermark = watermark(memory).to_string();
    let reason = "PID 1 seldom has to wait for memory";
    let settings = SETTINGS.iter().copied();
    let failed: Vec<String> = settings
        .chain([("vm/watermark_scale_factor", watermark.as_str(), reason)])
        .filter_map(|(file, value, reason)| {
            let cause = std::fs::write(format!("/proc/sys/{file}"), value).err()?;
            Some(format!("{file}={value} ({reason}): {cause}"))
        })
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Error::new(What::Kernel, failed.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_for_a_hundredth_of_the_memory_and_no_more_than_a_gibibyte() {
        assert_eq!(watermark(1 << 30), 99);
        assert_eq!(watermark(100 << 30), 100);
        assert_eq!(watermark(400 << 30), 25);
        assert_eq!(watermark(4 << 40), 10);
        assert_eq!(watermark(0), 10);
    }
}
