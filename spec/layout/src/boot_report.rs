//! What PID 1 saw on the way up, as [`crate::path::BOOT_REPORT`] keeps it: `key=value` lines.
//!
//! Keys may be added; a reader skips those it does not know. `degraded` may stand more than once.

use std::fmt;
use std::str::FromStr;

/// How the boot before this one ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PreviousBoot {
    /// Shut down in order.
    Clean,
    /// Power cut, crash or reset.
    Unclean,
    /// The hardware watchdog reset the machine.
    Watchdog,
    /// There was none on this state partition.
    First,
    /// There is no state partition to know it from.
    #[default]
    Unknown,
}

impl PreviousBoot {
    const WORDS: [(PreviousBoot, &'static str); 5] = [
        (PreviousBoot::Clean, "clean"),
        (PreviousBoot::Unclean, "unclean"),
        (PreviousBoot::Watchdog, "watchdog"),
        (PreviousBoot::First, "first"),
        (PreviousBoot::Unknown, "unknown"),
    ];
}

impl fmt::Display for PreviousBoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(boot, _)| boot == self);
        f.write_str(word.map_or("unknown", |(_, word)| word))
    }
}

impl FromStr for PreviousBoot {
    type Err = String;

    fn from_str(text: &str) -> Result<PreviousBoot, String> {
        let found = Self::WORDS.iter().find(|(_, word)| *word == text);
        found
            .map(|(boot, _)| *boot)
            .ok_or_else(|| format!("previous_boot={text} is not known"))
    }
}

/// The report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootReport {
    /// Root hash that the kernel verifies against; empty without one.
    pub root_hash: String,
    /// The mounted root is a dm-verity device with that root hash.
    pub root_verified: bool,
    /// Block device that holds the root, such as `/dev/vda2`; empty in RAM mode.
    pub root_device: String,
    /// The root runs from memory.
    pub ram: bool,
    /// Block device of the state partition; empty if state lives in memory.
    pub state_device: String,
    /// How the last boot ended.
    pub previous_boot: PreviousBoot,
    /// What did not work, one sentence each.
    pub degraded: Vec<String>,
}

impl BootReport {
    /// Reads a report; an unreadable value is an error, an unknown key is not.
    pub fn parse(text: &str) -> Result<BootReport, String> {
        let mut report = BootReport::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else {
                return Err(format!("\"{line}\" is not key=value"));
            };
            match key {
                "root_hash" => report.root_hash = value.to_owned(),
                "root_verified" => report.root_verified = yes_no(key, value)?,
                "root_device" => report.root_device = value.to_owned(),
                "ram" => report.ram = yes_no(key, value)?,
                "state_device" => report.state_device = value.to_owned(),
                "previous_boot" => report.previous_boot = value.parse()?,
                "degraded" => report.degraded.push(value.to_owned()),
                _ => {}
            }
        }
        Ok(report)
    }
}

fn yes_no(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("{key}={value} is neither yes nor no")),
    }
}

impl fmt::Display for BootReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes_no = |yes: bool| if yes { "yes" } else { "no" };
        let one_line = |text: &str| text.replace(char::is_control, " ");
        writeln!(f, "root_hash={}", one_line(&self.root_hash))?;
        writeln!(f, "root_verified={}", yes_no(self.root_verified))?;
        writeln!(f, "root_device={}", one_line(&self.root_device))?;
        writeln!(f, "ram={}", yes_no(self.ram))?;
        writeln!(f, "state_device={}", one_line(&self.state_device))?;
        writeln!(f, "previous_boot={}", self.previous_boot)?;
        self.degraded
            .iter()
            .try_for_each(|why| writeln!(f, "degraded={}", one_line(why)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_report_from_a_newer_writer_still_reads() {
        let report =
            BootReport::parse("root_verified=yes\nprevious_boot=watchdog\nmoon=full\n").unwrap();
        assert!(report.root_verified);
        assert_eq!(report.previous_boot, PreviousBoot::Watchdog);
        assert!(
            BootReport::parse("ram=maybe\n")
                .unwrap_err()
                .contains("ram=maybe")
        );
        assert!(BootReport::parse("what\n").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(device in "[a-z/0-9]{0,9}", verified: bool, ram: bool, degraded in proptest::collection::vec("[ -~]{0,30}", 0..3)) {
            let report = BootReport { root_hash: "ab".into(), root_verified: verified, root_device: device, ram, degraded, previous_boot: PreviousBoot::Clean, state_device: "/dev/vda8".into() };
            prop_assert_eq!(BootReport::parse(&report.to_string()), Ok(report));
        }

        #[test]
        fn a_line_feed_in_a_reason_cannot_forge_a_key(why in any::<String>()) {
            let report = BootReport { degraded: vec![why], ..BootReport::default() };
            let read = BootReport::parse(&report.to_string()).unwrap();
            prop_assert_eq!(read.degraded.len(), 1);
            prop_assert!(!read.root_verified);
        }
    }
}
