//! `CapabilityBoundingSet=`, `AmbientCapabilities=`, `SecureBits=`, `NoNewPrivileges=`: what a service may do and become.

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::capability::CapabilitySet;
use crate::plan::ExecPlan;
use crate::unit::Unit;
use crate::value;

/// What a service may do and become.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySettings {
    /// CapabilityBoundingSet=, if given.
    pub bounding: Option<CapabilitySet>,
    /// AmbientCapabilities=.
    pub ambient: CapabilitySet,
    /// NoNewPrivileges=.
    pub no_new_privileges: bool,
    /// SecureBits=, as prctl(2) takes them.
    pub secure_bits: u32,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "CapabilityBoundingSet",
        value: "[~]CAPABILITY...",
        documentation: "All that it can ever have; with \"~\" all but these. Empty: none.",
        support: Support::Confine(set_bounding),
    },
    Directive {
        section: "Service",
        name: "AmbientCapabilities",
        value: "[~]CAPABILITY...",
        documentation: "Capabilities kept under a User= that is not root.",
        support: Support::Confine(set_ambient),
    },
    Directive {
        section: "Service",
        name: "SecureBits",
        value: "keep-caps|no-setuid-fixup|noroot|...-locked",
        documentation: "What being root and changing the user do to its capabilities, capabilities(7).",
        support: Support::Confine(set_secure_bits),
    },
    Directive {
        section: "Service",
        name: "NoNewPrivileges",
        value: "BOOLEAN",
        documentation: "No program it runs gains privileges by setuid or file capabilities.",
        support: Support::Confine(set_no_new_privileges),
    },
];

/// Merges one assignment into what earlier ones gave, as systemd does: the first decides what is started from.
fn merge(text: &str, old: Option<CapabilitySet>) -> Result<CapabilitySet, String> {
    let (inverted, names) = text
        .strip_prefix('~')
        .map_or((false, text), |names| (true, names));
    let mut set = CapabilitySet::default();
    for name in names.split_ascii_whitespace() {
        let one =
            CapabilitySet::named(name).ok_or_else(|| format!("{name:?} is not a capability"))?;
        set.0 |= one.0;
    }
    Ok(match (inverted, old) {
        (false, _) if names.trim().is_empty() => CapabilitySet::default(),
        (true, _) if names.trim().is_empty() => CapabilitySet::ALL,
        (false, None) => set,
        (false, Some(old)) => CapabilitySet(old.0 | set.0),
        (true, old) => CapabilitySet(old.unwrap_or(CapabilitySet::ALL).0 & !set.0),
    })
}

fn set_bounding(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let capabilities = &mut unit.service.capabilities;
    capabilities.bounding = Some(merge(value.text, capabilities.bounding)?);
    Ok(())
}

fn set_ambient(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let capabilities = &mut unit.service.capabilities;
    capabilities.ambient = merge(value.text, Some(capabilities.ambient))?;
    Ok(())
}

/// By position as in `<linux/securebits.h>`.
const SECURE_BITS: [&str; 6] = [
    "noroot",
    "noroot-locked",
    "no-setuid-fixup",
    "no-setuid-fixup-locked",
    "keep-caps",
    "keep-caps-locked",
];

fn set_secure_bits(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let bits = &mut unit.service.capabilities.secure_bits;
    if value.is_reset() {
        *bits = 0;
    }
    for word in value.words()? {
        let bit = SECURE_BITS.iter().position(|name| *name == word);
        *bits |= 1 << bit.ok_or_else(|| format!("{word:?} is not a secure bit"))?;
    }
    Ok(())
}

fn set_no_new_privileges(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.capabilities.no_new_privileges = value::boolean(value.text)?;
    Ok(())
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let settings = &planning.unit.service.capabilities;
    if planning.command.privileged {
        return Ok(());
    }
    let lost = super::protect::lost(planning.unit);
    plan.capabilities.bounding = match (settings.bounding, lost.0) {
        (bounding, 0) => bounding,
        (bounding, lost) => Some(CapabilitySet(
            bounding.unwrap_or(CapabilitySet::ALL).0 & !lost,
        )),
    };
    let bounding = plan.capabilities.bounding.unwrap_or(CapabilitySet::ALL);
    plan.capabilities.ambient = CapabilitySet(settings.ambient.0 & bounding.0);
    let dynamic = planning.unit.service.identity.dynamic;
    plan.no_new_privileges = settings.no_new_privileges || dynamic;
    plan.capabilities.secure_bits = settings.secure_bits;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_merge_as_in_systemd() {
        let chown = CapabilitySet(1);
        assert_eq!(merge("CAP_CHOWN", None), Ok(chown));
        assert_eq!(
            merge("CAP_KILL", Some(chown)),
            Ok(CapabilitySet(1 | 1 << 5))
        );
        assert_eq!(
            merge("~CAP_CHOWN", None),
            Ok(CapabilitySet(CapabilitySet::ALL.0 & !1))
        );
        assert_eq!(merge("", Some(chown)), Ok(CapabilitySet(0)));
        assert!(merge("CAP_FLY", None).is_err());
    }
}
