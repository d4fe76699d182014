//! `NotifyAccess=`, `WatchdogSec=`, `FileDescriptorStoreMax=` and its like: what a service may say, must say and may
//! leave with PID 1, sd_notify(3).

use serde::{Deserialize, Serialize};

use super::directory::Preserve;
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

/// Most descriptors that one service may leave with PID 1.
pub const MAX_STORED: u32 = 512;
/// The name of a stored descriptor that was given none.
pub const STORED: &str = "stored";

/// NotifyAccess=, WatchdogSec= and the store of descriptors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// NotifyAccess=, if given.
    pub given: Option<NotifyAccess>,
    /// WatchdogSec=; 0 is off.
    pub watchdog_us: u64,
    /// FileDescriptorStoreMax=; 0 is none.
    pub store_max: u32,
    /// FileDescriptorStorePreserve=; restart if not given.
    pub store_preserve: Option<Preserve>,
}

impl Notify {
    /// NotifyAccess=, or what systemd takes: main where the service has something to say.
    pub fn access(&self, notify: bool) -> NotifyAccess {
        let needed = notify || self.watchdog_us > 0 || self.store_max > 0;
        match self.given {
            Some(NotifyAccess::None) if needed => NotifyAccess::Main,
            Some(access) => access,
            None if needed => NotifyAccess::Main,
            None => NotifyAccess::None,
        }
    }

    /// FileDescriptorStorePreserve=.
    pub fn preserve(&self) -> Preserve {
        self.store_preserve.unwrap_or(Preserve::Restart)
    }
}

/// Whether LISTEN_FDNAMES can hold a name, sd_notify(3): printable, without a colon, at most 255 bytes.
pub fn is_fd_name(name: &str) -> bool {
    let printable = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b':';
    !name.is_empty() && name.len() <= 255 && name.bytes().all(printable)
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
        documentation: "Descriptors kept for the service over its restarts (FDSTORE=1); 512 at most, more are lowered to it.",
        support: Support::Set(set_store_max),
    },
    Directive {
        section: "Service",
        name: "FileDescriptorStorePreserve",
        value: "BOOLEAN|restart",
        documentation: "When stored descriptors are kept: never over an end, over restarts, or after a stop too.",
        support: Support::Set(set_store_preserve),
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

fn set_store_max(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let count: u32 = match value.text {
        "" => 0,
        text => text
            .parse()
            .map_err(|_| format!("{text:?} is not a number of descriptors"))?,
    };
    unit.service.notify.store_max = count.min(MAX_STORED);
    Ok(())
}

fn set_store_preserve(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.notify.store_preserve = match value.text {
        "" => None,
        "restart" => Some(Preserve::Restart),
        text if value::boolean(text)? => Some(Preserve::Yes),
        _ => Some(Preserve::No),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_stores_descriptors_is_heard() {
        let notify = Notify {
            store_max: 1,
            ..Notify::default()
        };
        assert_eq!(notify.access(false), NotifyAccess::Main);
        assert_eq!(notify.preserve(), Preserve::Restart);
        assert_eq!(Notify::default().access(false), NotifyAccess::None);
    }

    #[test]
    fn a_name_of_a_descriptor_fits_into_the_list() {
        assert!(is_fd_name("a b") && is_fd_name("x"));
        for odd in ["", "a:b", "a\nb", "\u{e9}"] {
            assert!(!is_fd_name(odd), "{odd:?}");
        }
        assert!(!is_fd_name(&"x".repeat(256)));
    }
}
