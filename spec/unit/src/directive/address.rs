//! `IPAddressAllow=`, `IPAddressDeny=`: which addresses a service may talk to, systemd.resource-control(5).

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::plan::ExecPlan;
use crate::plan::filter::Prefix;
use crate::unit::Unit;

/// Which addresses a service may talk to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSettings {
    /// IPAddressAllow=.
    pub allowed: Vec<Prefix>,
    /// IPAddressDeny=.
    pub denied: Vec<Prefix>,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "IPAddressAllow",
        value: "ADDRESS[/BITS]|any|localhost|link-local|multicast...",
        documentation: "Addresses it may talk to although IPAddressDeny= lists them.",
        support: Support::Confine(add),
    },
    Directive {
        section: "Service",
        name: "IPAddressDeny",
        value: "ADDRESS[/BITS]|any|localhost|link-local|multicast...",
        documentation: "Addresses it may neither send to nor hear from.",
        support: Support::Confine(add),
    },
];

/// What a word stands for.
const WORDS: [(&str, [&str; 2]); 4] = [
    ("any", ["0.0.0.0/0", "::/0"]),
    ("localhost", ["127.0.0.0/8", "::1/128"]),
    ("link-local", ["169.254.0.0/16", "fe80::/64"]),
    ("multicast", ["224.0.0.0/4", "ff00::/8"]),
];

fn prefix(text: &str) -> Result<Prefix, String> {
    let expected = || format!("{text:?} is not an address, nor one with a prefix length");
    let (address, bits) = text
        .split_once('/')
        .map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address = address.parse().map_err(|_| expected())?;
    let whole = Prefix { address, bits: 0 }.width();
    let bits = match bits {
        None => whole,
        Some(bits) => bits.parse().map_err(|_| expected())?,
    };
    match bits <= whole {
        true => Ok(Prefix { address, bits }),
        false => Err(expected()),
    }
}

fn add(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let settings = &mut unit.service.addresses;
    let list = match value.name {
        "IPAddressAllow" => &mut settings.allowed,
        _ => &mut settings.denied,
    };
    if value.is_reset() {
        list.clear();
    }
    for word in value.words()? {
        match WORDS.iter().find(|(known, _)| *known == word) {
            Some((_, prefixes)) => {
                for text in prefixes {
                    list.push(prefix(text)?);
                }
            }
            None => list.push(prefix(&word)?),
        }
    }
    Ok(())
}

/// Holds for the whole control group, whatever command runs in it.
pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let settings = &planning.unit.service.addresses;
    plan.cgroup.filters.allowed_addresses = settings.allowed.clone();
    plan.cgroup.filters.denied_addresses = settings.denied.clone();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    #[test]
    fn words_and_prefixes_make_one_list() {
        let text = "ExecStart=/bin/a\nIPAddressDeny=any\nIPAddressAllow=localhost 10.0.0.0/8\nIPAddressAllow=::1\n";
        let filters = plan(text).cgroup.filters;
        assert_eq!(filters.denied_addresses.len(), 2);
        let allowed: Vec<String> = filters
            .allowed_addresses
            .iter()
            .map(|prefix| format!("{}/{}", prefix.address, prefix.bits))
            .collect();
        assert_eq!(allowed, ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "::1/128"]);
    }

    #[test]
    fn what_is_no_address_refuses() {
        for text in ["", "a", "1.2.3.4/33", "::/129", "1.2.3.4/x", "1.2.3"] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }
}
