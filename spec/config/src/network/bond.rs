//! `bond = { mode, members, ... }`: several links as one (kernel, "Documentation/networking/bonding").

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::network::reference::{self, LinkReference};

/// How often carriers are looked at where nothing is said, in milliseconds; 0, the kernel's own default, is never.
const MIIMON_MS: u32 = 100;
const MIIMON_MAX_MS: u32 = 60_000;

/// A bond.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Bond {
    /// How frames are shared out among the members.
    pub mode: BondMode,
    /// The links it is made of, at least one.
    pub members: Vec<LinkReference>,
    /// How often the members' carriers are looked at, in milliseconds.
    #[serde(default = "miimon_ms")]
    pub miimon_ms: u32,
    /// How often the partner is asked to send LACP packets; only `802.3ad`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacp_rate: Option<LacpRate>,
    /// Fewest members with a carrier for the bond to have one; only `802.3ad`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_links: Option<u32>,
    /// What of a frame chooses the member that sends it; only `802.3ad`, `balance-xor` and `balance-tlb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmit_hash_policy: Option<XmitHashPolicy>,
    /// The member that is used whenever it has a carrier; only `active-backup`, `balance-tlb` and `balance-alb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<LinkReference>,
}

fn miimon_ms() -> u32 {
    MIIMON_MS
}

/// `mode` of a bond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum BondMode {
    /// One after the other.
    #[serde(rename = "balance-rr")]
    BalanceRr,
    /// One is used, the others stand by.
    #[serde(rename = "active-backup")]
    ActiveBackup,
    /// By a hash of the frame.
    #[serde(rename = "balance-xor")]
    BalanceXor,
    /// Link aggregation, agreed on with the switch by LACP.
    #[serde(rename = "802.3ad")]
    Ieee8023ad,
    /// By load, outgoing.
    #[serde(rename = "balance-tlb")]
    BalanceTlb,
    /// By load, both ways.
    #[serde(rename = "balance-alb")]
    BalanceAlb,
}

/// `lacp_rate` of a bond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LacpRate {
    /// Every 30 seconds.
    Slow,
    /// Every second.
    Fast,
}

/// `xmit_hash_policy` of a bond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum XmitHashPolicy {
    /// Hardware addresses.
    #[serde(rename = "layer2")]
    Layer2,
    /// Hardware and IP addresses.
    #[serde(rename = "layer2+3")]
    Layer23,
    /// IP addresses and ports.
    #[serde(rename = "layer3+4")]
    Layer34,
    /// As `layer2+3`, of what a tunnel carries.
    #[serde(rename = "encap2+3")]
    Encap23,
    /// As `layer3+4`, of what a tunnel carries.
    #[serde(rename = "encap3+4")]
    Encap34,
}

impl BondMode {
    /// Whether LACP is spoken: `lacp_rate` and `min_links` count.
    pub fn has_lacp(self) -> bool {
        self == Self::Ieee8023ad
    }

    /// Whether a hash chooses the member: `xmit_hash_policy` counts.
    pub fn has_hash(self) -> bool {
        matches!(self, Self::Ieee8023ad | Self::BalanceXor | Self::BalanceTlb)
    }

    /// Whether one member leads: `primary` counts.
    pub fn has_primary(self) -> bool {
        matches!(
            self,
            Self::ActiveBackup | Self::BalanceTlb | Self::BalanceAlb
        )
    }
}

pub(super) fn check(check: &mut Check<'_>, path: &str, bond: &Bond) -> bool {
    let members = format!("{path}.members");
    if bond.members.is_empty() {
        check.refuse(&members, "a bond of nothing: name at least one member");
    }
    let bounded = reference::check(check, &members, &bond.members);
    if !(1..=MIIMON_MAX_MS).contains(&bond.miimon_ms) {
        let message = format!(
            "miimon_ms {} is outside 1 to {MIIMON_MAX_MS}",
            bond.miimon_ms
        );
        check.refuse(format!("{path}.miimon_ms"), message);
    }
    if bond
        .min_links
        .is_some_and(|links| links as usize > crate::check::MAX_LIST)
    {
        let message = format!(
            "min_links is above {}; the bond could never be up",
            crate::check::MAX_LIST
        );
        check.refuse(format!("{path}.min_links"), message);
    }
    check_options(check, path, bond);
    if let Some(primary) = &bond.primary {
        let path = format!("{path}.primary");
        reference::check_one(check, &path, primary);
        if !bond.members.contains(primary) {
            check.refuse(
                path,
                format!("{primary} is none of the bond's `members`; write it as there"),
            );
        }
    }
    bounded
}

/// Options that the mode has no use for: the kernel would refuse them, or pass over them.
fn check_options(check: &mut Check<'_>, path: &str, bond: &Bond) {
    let mode = bond.mode;
    for (key, given, counts, modes) in [
        (
            "lacp_rate",
            bond.lacp_rate.is_some(),
            mode.has_lacp(),
            "802.3ad",
        ),
        (
            "min_links",
            bond.min_links.is_some(),
            mode.has_lacp(),
            "802.3ad",
        ),
        (
            "xmit_hash_policy",
            bond.xmit_hash_policy.is_some(),
            mode.has_hash(),
            "802.3ad, balance-xor and balance-tlb",
        ),
        (
            "primary",
            bond.primary.is_some(),
            mode.has_primary(),
            "active-backup, balance-tlb and balance-alb",
        ),
    ] {
        if given && !counts {
            let message = format!("`{key}` counts only in mode {modes}; remove it");
            check.refuse(format!("{path}.{key}"), message);
        }
    }
}
