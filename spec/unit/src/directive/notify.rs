//! `NotifyAccess=`, `WatchdogSec=`: what a service may say and must say, sd_notify(3).

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::unit::Unit;
use crate::value;

/// Which processes of a service are heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotifyAccess {
    /// None.
    None,
    /// The main process.
    Main,
    /// The main process and those of the other Exec lines.
    Exec,
    /// Every process in its cgroup.
    All,
}

/// NotifyAccess= and WatchdogSec=.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// NotifyAccess=, if given.
    pub given: Option<NotifyAccess>,
    /// WatchdogSec=; 0 is off.
    pub watchdog_us: u64,
}

impl Notify {
    /// NotifyAccess=, or what systemd takes: main where the service has something to say.
    pub fn access(&self, notify: bool) -> NotifyAccess {
        let needed = notify || self.watchdog_us > 0;
        match self.given {
            Some(NotifyAccess::None) if needed => NotifyAccess::Main,
            Some(access) => access,
            None if needed => NotifyAccess::Main,
            None => NotifyAccess::None,
        }
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "NotifyAccess",
        value: "none|main|exec|all",
        documentation: "Whose sd_notify messages are heard.",
        support: Support::Set(set_access),
    },
    Directive {
        section: "Service",
        name: "WatchdogSec",
        value: "SPAN",
        documentation: "Longest time between two WATCHDOG=1; then the service is ended by SIGABRT.",
        support: Support::Set(set_watchdog),
    },
    Directive {
        section: "Service",
        name: "FileDescriptorStoreMax",
        value: "NUMBER",
        documentation: "Descriptors kept for the service over its restarts. None is kept yet: FDSTORE=1 closes them.",
        support: Support::Later,
    },
];

fn set_access(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.notify.given = Some(match value.text {
        "none" => NotifyAccess::None,
        "main" => NotifyAccess::Main,
        "exec" => NotifyAccess::Exec,
        "all" => NotifyAccess::All,
        other => return Err(format!("{other:?} is not none, main, exec or all")),
    });
    Ok(())
}

fn set_watchdog(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.notify.watchdog_us = value::span_us(value.text)?.unwrap_or(0);
    Ok(())
}
