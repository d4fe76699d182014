//! `SuccessExitStatus=`, `RestartPreventExitStatus=`, `RestartForceExitStatus=`: which exit statuses mean what.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::control::ExitStatus;
use crate::unit::Unit;
use crate::value;

/// A set of exit codes and signals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusSet {
    /// Exit codes.
    pub codes: BTreeSet<i32>,
    /// Signals.
    pub signals: BTreeSet<i32>,
}

impl StatusSet {
    /// Whether this status is in the set.
    pub fn has(&self, status: ExitStatus) -> bool {
        match status {
            ExitStatus::Exited(code) => self.codes.contains(&code),
            ExitStatus::Signaled(signal) | ExitStatus::Dumped(signal) => {
                self.signals.contains(&signal)
            }
        }
    }
}

/// Which exit statuses mean what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatuses {
    /// Count as clean, besides 0 and the usual signals.
    pub success: StatusSet,
    /// Not followed by a restart.
    pub prevent_restart: StatusSet,
    /// Always followed by a restart.
    pub force_restart: StatusSet,
}

impl ExitStatuses {
    /// Whether a service ended cleanly: 0, SIGHUP, SIGINT, SIGTERM, SIGPIPE, or as SuccessExitStatus= says.
    /// For commands that are not daemons, a signal is never clean by itself.
    pub fn is_clean(&self, status: ExitStatus, daemon: bool) -> bool {
        let usual = match status {
            ExitStatus::Exited(code) => code == 0,
            ExitStatus::Signaled(signal) => daemon && [1, 2, 13, 15].contains(&signal),
            ExitStatus::Dumped(_) => false,
        };
        usual || self.success.has(status)
    }
}

const fn row(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "CODE|SIGNAL...",
        documentation,
        support: Support::Set(set),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row(
        "SuccessExitStatus",
        "Exit codes and signals that count as a clean end.",
    ),
    row(
        "RestartPreventExitStatus",
        "Exit codes and signals after which Restart= does nothing.",
    ),
    row(
        "RestartForceExitStatus",
        "Exit codes and signals after which the service is always restarted.",
    ),
];

/// systemd's names of exit codes that units use, systemd.exec(5) "Process Exit Codes".
const CODES: &[(&str, i32)] = &[
    ("SUCCESS", 0),
    ("FAILURE", 1),
    ("INVALIDARGUMENT", 2),
    ("NOTIMPLEMENTED", 3),
    ("NOPERMISSION", 4),
    ("NOTINSTALLED", 5),
    ("NOTCONFIGURED", 6),
    ("NOTRUNNING", 7),
    ("USAGE", 64),
    ("DATAERR", 65),
    ("NOINPUT", 66),
    ("NOUSER", 67),
    ("NOHOST", 68),
    ("UNAVAILABLE", 69),
    ("SOFTWARE", 70),
    ("OSERR", 71),
    ("OSFILE", 72),
    ("CANTCREAT", 73),
    ("IOERR", 74),
    ("TEMPFAIL", 75),
    ("PROTOCOL", 76),
    ("NOPERM", 77),
    ("CONFIG", 78),
];

fn set(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let statuses = &mut unit.service.exit_status;
    let set = match value.name {
        "SuccessExitStatus" => &mut statuses.success,
        "RestartPreventExitStatus" => &mut statuses.prevent_restart,
        _ => &mut statuses.force_restart,
    };
    if value.is_reset() {
        *set = StatusSet::default();
    }
    for word in value.words()? {
        let named = CODES
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, code)| *code);
        if let Some(code) =
            named.or_else(|| value::number(&word, 0, 255).ok().map(|code| code as i32))
        {
            set.codes.insert(code);
        } else {
            set.signals.insert(value::signal(&word)?);
        }
    }
    Ok(())
}
