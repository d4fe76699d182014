//! Who may ask PID 1 for what.
//!
//! Root may ask for everything, unless it is behind walls ([`Peer::is_walled`]): a service that a unit file keeps from the
//! node must not get there by PID 1's hand. Such a one may look, and the programs in [`UNITS`] may ask for what they ask
//! for today. So may a user in [`USERS`], of any unit. Nobody else may ask for anything.
//!
//! The policy for programs that such a user has run: PID 1 makes a user up for each run, as DynamicUser= does, which has
//! no capability, gets none by exec, and belongs to no group of the node's. The plan may ask for any wall, limit and share
//! of the machine, for descriptors that its client has itself, and for nothing that root would do or read on its behalf:
//! no other root, user, path of a stream, folder, bind, secret, or namespace of somebody else.

use spec_unit::control::{Request, ShutdownAction};

use super::peer::Peer;

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
    /// Run transient units as any user, and collect all.
    Transient,
    /// Run transient units without a privilege ([`ExecPlan::check_confined`]), and collect those.
    ///
    /// [`ExecPlan::check_confined`]: spec_unit::plan::ExecPlan::check_confined
    Confined,
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
        Right::Confined,
        Right::Shutdown,
        Right::Devices,
        Right::Reexecute,
    ],
};

const LOOK: Rights = Rights {
    kinds: &[Right::Read],
};

/// Units whose main process is root behind walls, and what each may ask.
const UNITS: &[(&str, Rights)] = &[
    (
        // Devices come and go, one of them the power button.
        "bedplate-device.service",
        Rights {
            kinds: &[Right::Read, Right::Devices, Right::Shutdown],
        },
    ),
    (
        // Whoever's part of the machine config changed reads it anew.
        "bedplate-config.service",
        Rights {
            kinds: &[Right::Read, Right::Reload],
        },
    ),
];

/// Users besides root, and what each may ask.
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
            Right::Confined,
            Right::Shutdown,
        ],
    },
)];

/// The kind of a request.
fn kind(request: &Request) -> Right {
    match request {
        Request::List { .. } | Request::Show { .. } | Request::Wait { .. } | Request::Watch => {
            Right::Read
        }
        // To start one of these targets is to shut down, by another name.
        Request::Start { unit } if ShutdownAction::of_target(unit).is_some() => Right::Shutdown,
        Request::Start { .. } => Right::Start,
        Request::Stop { .. } => Right::Stop,
        Request::Restart { .. } => Right::Restart,
        Request::Reload { .. } => Right::Reload,
        Request::ResetFailed { .. } => Right::ResetFailed,
        Request::Kill { .. } => Right::Kill,
        Request::Run { .. } => Right::Transient,
        // Whose unit it is counts besides.
        Request::Collect { .. } => Right::Confined,
        Request::Shutdown { .. } => Right::Shutdown,
        Request::Devices { .. } => Right::Devices,
        Request::Reexecute | Request::Crash => Right::Reexecute,
    }
}

impl Rights {
    /// The rights of a peer; `name_of` tells a user's name.
    pub(super) fn of(
        peer: &Peer,
        name_of: impl Fn(u32) -> Option<String>,
    ) -> Option<&'static Self> {
        if peer.uid == 0 {
            let of_unit = UNITS
                .iter()
                .find(|(unit, _)| peer.unit.as_deref() == Some(unit));
            return Some(match of_unit {
                _ if !peer.is_walled => &EVERYTHING,
                Some((_, rights)) => rights,
                None => &LOOK,
            });
        }
        let name = name_of(peer.uid)?;
        let row = USERS.iter().find(|(user, _)| *user == name);
        row.map(|(_, rights)| rights)
    }

    /// Refuses a request that is none of the user's.
    pub(super) fn check(&self, request: &Request) -> Result<(), String> {
        if self.kinds.contains(&kind(request)) {
            return Ok(());
        }
        match request {
            Request::Run { plan, .. } if self.kinds.contains(&Right::Confined) => {
                plan.check_confined()
            }
            _ => Err("your user may not ask this, or not from behind the walls of its unit".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use spec_unit::plan::ExecPlan;

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
        assert_eq!(Rights::of(&Peer::user(0), |_| None), Some(&EVERYTHING));
        let seven = Peer::user(7);
        assert!(Rights::of(&seven, name("bedplate-node")).is_some());
        assert_eq!(Rights::of(&seven, name("bedplate-cluster")), None);
        assert_eq!(Rights::of(&seven, |_| None), None);
    }

    #[test]
    fn root_behind_walls_looks_and_does_only_what_is_its_programs() {
        let walled = |unit: Option<&str>| {
            let peer = Peer {
                is_walled: true,
                unit: unit.map(String::from),
                ..Peer::user(0)
            };
            Rights::of(&peer, |_| None).unwrap()
        };
        let off = Request::Shutdown {
            action: ShutdownAction::Poweroff,
        };
        let tell = Request::Devices {
            telling: spec_unit::device::Telling::Begin,
            devices: Vec::new(),
            gone: Vec::new(),
        };
        let run = Request::Run {
            unit: unit("a.service"),
            plan: Box::default(),
        };
        for (of, may_end) in [(None, false), (Some("bedplate-device.service"), true)] {
            let rights = walled(of);
            assert_eq!(rights.check(&Request::Watch), Ok(()));
            assert_eq!(rights.check(&off).is_ok(), may_end, "{of:?}");
            assert_eq!(rights.check(&tell).is_ok(), may_end, "{of:?}");
            assert!(rights.check(&run).is_err(), "{of:?}");
        }
    }

    #[test]
    fn the_node_api_may_ask_what_operators_may_and_runs_nothing_with_a_privilege() {
        let node = Rights::of(&Peer::user(7), |_| Some("bedplate-node".into())).unwrap();
        let etcd = || unit("etcd.service");
        for request in [
            Request::Watch,
            Request::Restart { unit: etcd() },
            Request::Wait { unit: etcd() },
            Request::Collect { unit: etcd() },
            Request::Run {
                unit: etcd(),
                plan: Box::default(),
            },
            Request::Shutdown {
                action: ShutdownAction::Reboot,
            },
        ] {
            assert_eq!(node.check(&request), Ok(()), "{request:?}");
        }
        for request in [
            Request::Reload { unit: etcd() },
            Request::ResetFailed { unit: etcd() },
            Request::Devices {
                telling: spec_unit::device::Telling::Begin,
                devices: Vec::new(),
                gone: Vec::new(),
            },
            Request::Reexecute,
            Request::Crash,
            Request::Run {
                unit: etcd(),
                plan: Box::new(ExecPlan {
                    nice: Some(-1),
                    ..ExecPlan::default()
                }),
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
