//! What this boot saw: kept for the node API, and one line for the console.

use std::path::Path;

use spec_layout::command_line;
use spec_layout::path::{BOOT_REPORT, RUN};

use super::Boot;
use crate::early::verity;
use crate::error::{Error, Result, What};

/// What the kernel says of the mounted root. Asked anew instead of handed over, so that it is true.
pub(super) fn root(boot: &mut Boot) -> Result<()> {
    let wanted = boot
        .command_line
        .value(command_line::ROOT_HASH)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let live = verity::of_mounted_root();
    boot.report.ram = boot.command_line.value(command_line::ROOT) == Some("ram");
    if let Some(live) = live {
        boot.report.root_verified = live.root_hash == wanted;
        boot.report.root_hash = live.root_hash;
        boot.report.root_device = node(&live.data_device)
            .filter(|_| !boot.report.ram)
            .unwrap_or_default();
    }
    if boot.report.root_verified {
        return Ok(());
    }
    Err(Error::new(
        What::Verity,
        "the root that runs is not the one of roothash=",
    ))
}

/// Node of a block device by its number.
fn node(number: &str) -> Option<String> {
    let device = std::fs::read_link(Path::new("/sys/dev/block").join(number)).ok()?;
    Some(format!("/dev/{}", device.file_name()?.to_str()?))
}

/// Writes the report and says its short form.
pub(super) fn write(boot: &mut Boot) -> Result<()> {
    let report = &boot.report;
    std::fs::create_dir_all(RUN).map_err(Error::at(What::BootReport, RUN))?;
    std::fs::write(BOOT_REPORT, report.to_string())
        .map_err(Error::at(What::BootReport, BOOT_REPORT))?;
    let state = if report.state_device.is_empty() {
        "in memory"
    } else {
        &report.state_device
    };
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let lacks = match report.degraded.len() {
        0 => String::new(),
        count => format!(", {count} not as it should be"),
    };
    crate::info!(
        "{host}: root verified, state {state}, last boot {}{lacks}",
        report.previous_boot
    );
    Ok(())
}
