//! `KeyringMode=`: the session keyring of a service, session-keyring(7).

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::plan::{ExecPlan, Keyring};
use crate::unit::Unit;

/// Which session keyring a service has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyringMode {
    /// PID 1's, until one is made for its user.
    Inherit,
    /// Its own.
    #[default]
    Private,
    /// Its own, with its user's linked into it.
    Shared,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[Directive {
    section: "Service",
    name: "KeyringMode",
    value: "inherit|private|shared",
    documentation: "The session keyring: PID 1's, one of its own (the default), or that with its user's linked into it. A kernel without keyrings is no failure.",
    support: Support::Confine(set),
}];

fn set(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.keyring = match value.text {
        "" | "private" => KeyringMode::Private,
        "inherit" => KeyringMode::Inherit,
        "shared" => KeyringMode::Shared,
        other => return Err(format!("{other:?} is not inherit, private or shared")),
    };
    Ok(())
}

/// The keyring is the user's, also for a command that stays root.
pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let mode = planning.unit.service.keyring;
    if mode == KeyringMode::Inherit {
        return Ok(());
    }
    let (uid, gid) = super::identity::numbers_of(planning)?;
    let variable =
        |(name, value): &(String, String)| (name == "INVOCATION_ID").then(|| value.clone());
    plan.keyring = Some(Keyring {
        uid,
        gid,
        shared: mode == KeyringMode::Shared,
        invocation: planning.variables.iter().find_map(variable),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{plan, read};
    use super::*;

    #[test]
    fn a_service_has_a_keyring_of_its_own_unless_it_inherits() {
        let keyring = |text: &str| plan(&format!("ExecStart=/bin/a\n{text}")).keyring;
        assert_eq!(keyring(""), Some(Keyring::default()));
        assert_eq!(keyring("KeyringMode=inherit\n"), None);
        let shared = keyring("KeyringMode=shared\nUser=etcd\n").unwrap();
        assert_eq!((shared.shared, shared.uid, shared.gid), (true, 100, 101));
        let (unit, _) = read("[Service]\nKeyringMode=other\n");
        assert_eq!(unit.refusals.len(), 1);
    }

    #[test]
    fn an_invocation_is_sixteen_bytes() {
        let bytes = |text: &str| {
            let invocation = Some(text.into());
            let keyring = Keyring {
                invocation,
                ..Keyring::default()
            };
            keyring.invocation_bytes()
        };
        assert_eq!(bytes("000102030405060708090a0b0c0d0e0f").unwrap()[15], 15);
        for bad in ["", "+00102030405060708090a0b0c0d0e0f", "00"] {
            assert_eq!(bytes(bad), None);
        }
    }
}
