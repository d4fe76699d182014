//! One entry of `[[network.links]]`: a link that is there (`match`), or one that is made (`name` and its kind).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::network::{Bond, Bridge, LinkReference, Route, Vlan, bond, bridge, route, vlan};
use crate::value::{Address, LinkName, Mac};

/// Smallest MTU of IPv4 (RFC 791) and of IPv6 (RFC 8200), and the largest of both.
const MIN_MTU: u32 = 68;
const MIN_MTU_IPV6: u32 = 1280;
const MAX_MTU: u32 = 65535;

/// A link, and what to do with it. It is there and `match` says which, or `name` and one of `bond`, `vlan`, `bridge`
/// and `dummy` make it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Which link, of those that are there.
    #[serde(rename = "match", default, skip_serializing_if = "LinkMatch::is_empty")]
    pub matches: LinkMatch,
    /// Name of a link to make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<LinkName>,
    /// Make it of several links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bond: Option<Bond>,
    /// Make it for one VLAN of another link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// Make it switch between links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<Bridge>,
    /// Make it lead nowhere, for addresses of the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dummy: Option<Dummy>,
    /// Hardware address to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Static addresses.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// Whether to ask for an IPv4 address by DHCP.
    #[serde(default)]
    pub dhcp4: bool,
    /// Largest packet in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Static routes.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// `dummy = {}`: a link without a wire; it has no options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Dummy {}

/// What an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind<'a> {
    /// A link that is there.
    Existing,
    /// A bond to make.
    Bond(&'a Bond),
    /// A VLAN to make.
    Vlan(&'a Vlan),
    /// A bridge to make.
    Bridge(&'a Bridge),
    /// A dummy to make.
    Dummy,
}

impl Link {
    /// What it is for.
    pub fn kind(&self) -> LinkKind<'_> {
        match (&self.bond, &self.vlan, &self.bridge, &self.dummy) {
            (Some(bond), _, _, _) => LinkKind::Bond(bond),
            (_, Some(vlan), _, _) => LinkKind::Vlan(vlan),
            (_, _, Some(bridge), _) => LinkKind::Bridge(bridge),
            (_, _, _, Some(_)) => LinkKind::Dummy,
            _ => LinkKind::Existing,
        }
    }

    /// The name it makes a link by, or matches one by.
    pub fn own_name(&self) -> Option<&str> {
        let made = self.name.as_ref().map(LinkName::as_str);
        made.or(self.matches.name.as_deref())
    }

    /// The links that become part of this one: a bond's members, a bridge's ports.
    pub fn members(&self) -> &[LinkReference] {
        match self.kind() {
            LinkKind::Bond(bond) => &bond.members,
            LinkKind::Bridge(bridge) => &bridge.ports,
            _ => &[],
        }
    }

    /// The link that carries this one's frames.
    pub fn parent(&self) -> Option<&LinkReference> {
        match self.kind() {
            LinkKind::Vlan(vlan) => Some(&vlan.parent),
            _ => None,
        }
    }
}

/// Which links are meant: every condition given must hold, and at least one is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinkMatch {
    /// Permanent hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Interface name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Kernel driver, such as `virtio_net`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Where the device is, such as `pci-0000:00:03.0` (udev's ID_PATH); a shell pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl LinkMatch {
    /// No condition is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether both surely mean the same link: one that has a condition's value is the only one.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let plain = |path: &&String| !path.contains(['*', '?', '[', '\\']);
        let path = self.path.as_ref().filter(plain);
        (self.mac.is_some() && self.mac == other.mac)
            || (self.name.is_some() && self.name == other.name)
            || (path.is_some() && path == other.path.as_ref())
    }
}

impl fmt::Display for LinkMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mac = self.mac.map(|mac| mac.to_string());
        let all = [
            ("mac", mac.as_ref()),
            ("name", self.name.as_ref()),
            ("driver", self.driver.as_ref()),
            ("path", self.path.as_ref()),
        ];
        let given = all.iter().filter_map(|(key, value)| Some((key, (*value)?)));
        for (index, (key, value)) in given.enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{key} {value}")?;
        }
        Ok(())
    }
}

/// Checks an entry by itself; `false` where a list is longer than any should be.
pub(super) fn check(check: &mut Check<'_>, path: &str, link: &Link) -> bool {
    check_which(check, path, link);
    let lists = check.bounded(&format!("{path}.addresses"), &link.addresses)
        && check.bounded(&format!("{path}.routes"), &link.routes);
    let kind = match link.kind() {
        LinkKind::Bond(of) => bond::check(check, &format!("{path}.bond"), of),
        LinkKind::Vlan(of) => vlan::check(check, &format!("{path}.vlan"), of),
        LinkKind::Bridge(of) => bridge::check(check, &format!("{path}.bridge"), of),
        LinkKind::Dummy | LinkKind::Existing => true,
    };
    if !lists || !kind {
        return false;
    }
    check_mac(check, path, link);
    check_mtu(check, path, link);
    for (index, address) in link.addresses.iter().enumerate() {
        let ip = address.ip;
        if ip.is_unspecified() || ip.is_multicast() {
            let message = format!("{ip} cannot be a link's address");
            check.refuse(format!("{path}.addresses[{index}]"), message);
        }
    }
    for (index, of) in link.routes.iter().enumerate() {
        route::check(check, &format!("{path}.routes[{index}]"), of);
    }
    true
}

/// An entry matches a link or makes one, of one kind.
fn check_which(check: &mut Check<'_>, path: &str, link: &Link) {
    let kinds = [
        ("bond", link.bond.is_some()),
        ("vlan", link.vlan.is_some()),
        ("bridge", link.bridge.is_some()),
        ("dummy", link.dummy.is_some()),
    ];
    let given: Vec<&str> = kinds
        .iter()
        .filter(|(_, given)| *given)
        .map(|(kind, _)| *kind)
        .collect();
    match (&link.name, given.as_slice()) {
        (None, []) => check_match(check, &format!("{path}.match"), &link.matches),
        (None, [kind, ..]) => check.refuse(
            format!("{path}.{kind}"),
            format!("a {kind} without a `name`; write `name = \"{kind}0\"` or the like"),
        ),
        (Some(name), []) => check.refuse(
            format!("{path}.name"),
            format!(
                "{name} shall be made, but as what? Give `bond`, `vlan`, `bridge` or `dummy`; for a link that is there, `match = {{ name = \"{name}\" }}`"
            ),
        ),
        (Some(_), [kind]) if !link.matches.is_empty() => check.refuse(
            format!("{path}.match"),
            format!("`match` is for a link that is there and `{kind}` makes one; keep one of them"),
        ),
        (Some(_), [_]) => {}
        (Some(_), [one, other, ..]) => check.refuse(
            format!("{path}.{other}"),
            format!("`{one}` and `{other}`: a link is of one kind"),
        ),
    }
}

fn check_mac(check: &mut Check<'_>, path: &str, link: &Link) {
    if let Some(mac) = link.mac
        && (mac.0[0] & 1 == 1 || mac.0 == [0; 6])
    {
        let message = format!("{mac} is not the address of one link: it is a group's, or zero");
        check.refuse(format!("{path}.mac"), message);
    }
}

fn check_mtu(check: &mut Check<'_>, path: &str, link: &Link) {
    let Some(mtu) = link.mtu else { return };
    let ipv6 = link.addresses.iter().any(|address| address.ip.is_ipv6());
    let least = if ipv6 { MIN_MTU_IPV6 } else { MIN_MTU };
    if !(least..=MAX_MTU).contains(&mtu) {
        let message = format!("mtu {mtu} is outside {least} to {MAX_MTU}");
        check.refuse(format!("{path}.mtu"), message);
    }
}

/// Checks the conditions of a match, `path` being its own key path.
pub(super) fn check_match(check: &mut Check<'_>, path: &str, matches: &LinkMatch) {
    if matches.is_empty() {
        let message = "an empty `match`: give `mac`, `name`, `driver` or `path`, or make a link with `name` and its kind";
        check.refuse(path, message);
    }
    let texts = [
        ("name", &matches.name, 15, true),
        ("driver", &matches.driver, 63, true),
        ("path", &matches.path, 255, false),
    ];
    for (key, value, most, is_file) in texts {
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() && !(is_file && byte == b'/'))
        };
        let wrong = |text: &str| text.is_empty() || text.len() > most || !plain(text);
        if value.as_deref().is_some_and(wrong) {
            let message =
                format!("`{key}` has 1 to {most} printable characters, no space or slash");
            check.refuse(format!("{path}.{key}"), message);
        }
    }
}
