//! State: what a node keeps. The partition is the volume service's work; PID 1 waits for it, and goes on with memory
//! when there is none.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use spec_layout::boot_report::PreviousBoot;
use spec_layout::path::{NODE_ID, STATE, STATE_REPORT};

use super::Boot;
use super::helper::{self, Helper};
use crate::early::mount::is_mount_point;
use crate::error::{Error, Result, What};

/// A check of a large disk after a power cut may take minutes; more than this and the disk is not coming.
const DEADLINE: Duration = Duration::from_secs(600);
/// Making a tmpfs takes no time.
const EPHEMERAL_DEADLINE: Duration = Duration::from_secs(30);
const MACHINE_ID: &str = "/etc/machine-id";

/// Has the setting up of the state partition begin: it takes longer than all that does not need it.
pub(super) fn begin(boot: &mut Boot) -> Result<()> {
    boot.state = Helper::start(&["volume", "setup"]);
    Ok(())
}

/// Waits until it is set up; memory takes its place if that fails.
pub(super) fn finish(boot: &mut Boot) -> Result<()> {
    let helper = std::mem::replace(&mut boot.state, Err("it was waited for".to_owned()));
    let set_up = helper.and_then(|helper| helper.finish(DEADLINE, &mut boot.watchdog));
    if let Err(why) = set_up {
        boot.lacks(Error::new(
            What::State,
            format!("{why}; the node keeps nothing until the next boot"),
        ));
        helper::run(
            &["volume", "ephemeral"],
            EPHEMERAL_DEADLINE,
            &mut boot.watchdog,
        )
        .map_err(|why| Error::new(What::State, why))?;
    }
    if !is_mount_point(Path::new(STATE)) || !is_mount_point(Path::new("/var")) {
        return Err(Error::new(What::State, "/state or /var is not mounted"));
    }
    let text =
        std::fs::read_to_string(STATE_REPORT).map_err(Error::at(What::State, STATE_REPORT))?;
    let facts: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let fact = |key| facts.get(key).copied().unwrap_or_default();
    boot.report.state_device = fact("device").to_owned();
    if !fact("problem").is_empty() {
        let why = format!(
            "{}; the node keeps nothing until the next boot",
            fact("problem")
        );
        boot.lacks(Error::new(What::State, why));
    }
    let previous = fact("previous_boot")
        .parse()
        .map_err(Error::at(What::State, STATE_REPORT))?;
    boot.report.previous_boot = previous_boot(previous, boot.watchdog.reset_us());
    match boot.report.previous_boot {
        PreviousBoot::Watchdog => {
            crate::warning!("the last boot hung and was ended by the hardware watchdog")
        }
        PreviousBoot::Unclean => crate::warning!("the last boot did not end with a shutdown"),
        _ => {}
    }
    Ok(())
}

/// The disk knows whether the machine was shut down; the watchdog knows whether it was it that ended the boot.
fn previous_boot(disk: PreviousBoot, watchdog_reset: bool) -> PreviousBoot {
    match disk {
        PreviousBoot::Unclean | PreviousBoot::Unknown if watchdog_reset => PreviousBoot::Watchdog,
        other => other,
    }
}

/// The node id is the machine-id that Debian's programs look for.
pub(super) fn apply_node_id() -> Result<()> {
    let id = std::fs::read_to_string(NODE_ID).map_err(Error::at(What::NodeId, NODE_ID))?;
    let digits = id.trim_end();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::new(
            What::NodeId,
            format!("{NODE_ID}: \"{digits}\" is not 32 hex digits"),
        ));
    }
    std::fs::write(MACHINE_ID, format!("{digits}\n")).map_err(Error::at(What::NodeId, MACHINE_ID))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_counts_only_where_no_clean_shutdown_followed() {
        assert_eq!(
            previous_boot(PreviousBoot::Unclean, true),
            PreviousBoot::Watchdog
        );
        assert_eq!(
            previous_boot(PreviousBoot::Unclean, false),
            PreviousBoot::Unclean
        );
        assert_eq!(
            previous_boot(PreviousBoot::Clean, true),
            PreviousBoot::Clean
        );
        assert_eq!(
            previous_boot(PreviousBoot::First, true),
            PreviousBoot::First
        );
        assert_eq!(
            previous_boot(PreviousBoot::Unknown, true),
            PreviousBoot::Watchdog
        );
    }
}
