//! Who may ask PID 1 for what.
//!
//! Root may ask for everything. A user in [`USERS`] may ask for what the program behind it asks for today, of the
//! units listed there, and for no more. Nobody else may ask for anything.

use spec_layout::glob;
use spec_unit::control::{Request, ShutdownAction};

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// List, show and watch units.
    Read,
    /// Start a unit.
    Start,
    /// Stop a unit.
    Stop,
    /// Stop, then start a unit.
    Restart,
    /// Reload a unit.
    Reload,
    /// Forget that a unit has failed.
    ResetFailed,
    /// Signal a unit.
    Kill,
    /// Run and collect transient units.
    Transient,
    /// Shut the node down.
    Shutdown,
}

/// What a user may ask.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    kinds: &'static [Right],
    /// Patterns of the units that may be changed; all may be read.
    units: &'static [&'static str],
}

const EVERYTHING: Rights = Rights {
    kinds: &[
        Right::Read,
        Right::Start,
        Right::Stop,
        Right::Restart,
        Right::Reload,
        Right::ResetFailed,
        Right::Kill,
        Right::Transient,
        Right::Shutdown,
    ],
    units: &["*"],
};

/// Users besides root, and what each may ask. Programs that run as root, such as the device service, need no row.
pub(super) const USERS: &[(&str, Rights)] = &[(
    // The node API: what an operator may ask of it.
    "bedplate-node",
    Rights {
        kinds: &[
            Right::Read,
            Right::Start,
            Right::Stop,
            Right::Restart,
            Right::Kill,
            Right::Shutdown,
        ],
        units: &["*"],
    },
)];

/// The kind of a request, and the unit that it would change.
fn kind(request: &Request) -> (Right, Option<&str>) {
    match request {
        Request::List { .. } | Request::Show { .. } | Request::Watch => (Right::Read, None),
        Request::Start { unit } => (Right::Start, Some(unit)),
        Request::Stop { unit } => (Right::Stop, Some(unit)),
        Request::Restart { unit } => (Right::Restart, Some(unit)),
        Request::Reload { unit } => (Right::Reload, Some(unit)),
        Request::ResetFailed { unit } => (Right::ResetFailed, Some(unit)),
        Request::Kill { unit, .. } => (Right::Kill, Some(unit)),
        Request::Run { unit, .. } | Request::Collect { unit } => (Right::Transient, Some(unit)),
        Request::Shutdown { .. } => (Right::Shutdown, None),
    }
}

impl Rights {
    /// The rights of a user; `name_of` tells its name.
    pub(super) fn of(uid: u32, name_of: impl Fn(u32) -> Option<String>) -> Option<&'static Self> {
        if uid == 0 {
            return Some(&EVERYTHING);
        }
        let name = name_of(uid)?;
        let row = USERS.iter().find(|(user, _)| *user == name);
        row.map(|(_, rights)| rights)
    }

    /// Refuses a request that is none of the user's.
    pub(super) fn check(&self, request: &Request) -> Result<(), String> {
        let (kind, unit) = kind(request);
        // To start one of these targets is to shut down, by another name.
        let shuts_down = kind == Right::Start && unit.and_then(ShutdownAction::of_target).is_some();
        if !self.has(kind) || shuts_down && !self.has(Right::Shutdown) {
            return Err("your user may not ask this".into());
        }
        match unit {
            Some(unit)
                if !self
                    .units
                    .iter()
                    .any(|pattern| glob::matches(pattern, unit)) =>
            {
                Err(format!("your user may not ask this of {unit}"))
            }
            _ => Ok(()),
        }
    }

    fn has(&self, kind: Right) -> bool {
        self.kinds.contains(&kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(unit: &str) -> String {
        unit.into()
    }

    /// Whoever may only restart etcd.
    const NARROW: Rights = Rights {
        kinds: &[Right::Start, Right::Restart],
        units: &["etcd.service", "*.target"],
    };

    #[test]
    fn only_root_and_the_users_of_the_table_have_rights() {
        let name = |name: &'static str| move |_| Some(name.to_string());
        assert_eq!(Rights::of(0, |_| None), Some(&EVERYTHING));
        assert!(Rights::of(7, name("bedplate-node")).is_some());
        assert_eq!(Rights::of(7, name("bedplate-cluster")), None);
        assert_eq!(Rights::of(7, |_| None), None);
    }

    #[test]
    fn the_node_api_may_ask_what_operators_may_and_runs_nothing_of_its_own() {
        let node = Rights::of(7, |_| Some("bedplate-node".into())).unwrap();
        let etcd = || unit("etcd.service");
        for request in [
            Request::Watch,
            Request::Restart { unit: etcd() },
            Request::Shutdown {
                action: ShutdownAction::Reboot,
            },
        ] {
            assert_eq!(node.check(&request), Ok(()), "{request:?}");
        }
        for request in [
            Request::Reload { unit: etcd() },
            Request::ResetFailed { unit: etcd() },
            Request::Collect { unit: etcd() },
            Request::Run {
                unit: etcd(),
                plan: Box::default(),
            },
        ] {
            assert!(node.check(&request).is_err(), "{request:?}");
            assert_eq!(EVERYTHING.check(&request), Ok(()), "{request:?}");
        }
    }

    #[test]
    fn a_right_holds_for_the_units_of_its_list() {
        let restart = |name| NARROW.check(&Request::Restart { unit: unit(name) });
        assert_eq!(restart("etcd.service"), Ok(()));
        assert!(
            restart("bedplate-node.service")
                .unwrap_err()
                .contains("bedplate-node.service")
        );
        let stop = Request::Stop {
            unit: unit("etcd.service"),
        };
        assert!(NARROW.check(&stop).is_err());
    }

    #[test]
    fn a_start_of_reboot_target_is_a_shutdown() {
        let start = |name| NARROW.check(&Request::Start { unit: unit(name) });
        assert_eq!(start("basic.target"), Ok(()));
        assert!(start("reboot.target").is_err());
    }
}
