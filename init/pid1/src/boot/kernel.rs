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
        "vm/watermark_scale_factor",
        "100",
        "room is made in the background from a hundredth of the memory on, and PID 1 seldom has to wait for it",
    ),
    (
        "net/unix/max_dgram_qlen",
        "512",
        "a burst of log or notify messages does not make its sender wait",
    ),
];

/// Seconds until a panicked kernel reboots, if the command line names none.
const PANIC_SECONDS: &str = "10";

/// Writes them all; says every one that failed.
pub(super) fn set() -> Result<()> {
    let panic = "/proc/sys/kernel/panic";
    if std::fs::read_to_string(panic).is_ok_and(|seconds| seconds.trim() == "0") {
        std::fs::write(panic, PANIC_SECONDS).map_err(Error::at(What::Kernel, panic))?;
    }
    let failed: Vec<String> = SETTINGS
        .iter()
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
