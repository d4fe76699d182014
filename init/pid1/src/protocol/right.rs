//! Who may ask PID 1 for what.
//!
//! Root may ask for everything. A user in [`USERS`] may ask for what the program behind it asks for today, of any unit,
//! and for no more. Nobody else may ask for anything.

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
    /// Tell of devices.
    Devices,
    /// Execute PID 1 anew, or make it crash.
    Reexecute,
}

/// What a user may ask.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    kinds: &'static [Right],
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
        Right::Devices,
        Right::Reexecute,
    ],
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
    },
)];

/// The kind of a request.
fn kind(request: &Request) -> Right {
    match request {
        Request::List { .. } | Request::Show { .. } | Request::Watch => Right::Read,
        // To start one of these targets is to shut down, by another name.
        Request::Start { unit } if ShutdownAction::of_target(unit).is_some() => Right::Shutdown,
        Request::Start { .. } => Right::Start,
        Request::Stop { .. } => Right::Stop,
        Request::Restart { .. } => Right::Restart,
        Request::Reload { .. } => Right::Reload,
        Request::ResetFailed { .. } => Right::ResetFailed,
        Request::Kill { .. } => Right::Kill,
        Request::Run { .. } | Request::Collect { .. } => Right::Transient,
        Request::Shutdown { .. } => Right::Shutdown,
        Request::Devices { .. } => Right::Devices,
        Request::Reexecute | Request::Crash => Right::Reexecute,
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
        if self.kinds.contains(&kind(request)) {
            Ok(())
        } else {
            Err("your user may not ask this".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(unit: &str) -> String {
        unit.into()
    }

    /// Whoever may start units and no more.
    const NARROW: Rights = Rights {
        kinds: &[Right::Start],
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
            Request::Devices {
                telling: spec_unit::device::Telling::Begin,
                devices: Vec::new(),
                gone: Vec::new(),
            },
            Request::Reexecute,
            Request::Crash,
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
    fn a_start_of_reboot_target_is_a_shutdown() {
        let start = |name| NARROW.check(&Request::Start { unit: unit(name) });
        assert_eq!(start("basic.target"), Ok(()));
        assert!(start("reboot.target").is_err());
    }
}
