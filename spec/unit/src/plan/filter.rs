//! What the processes of a control group may open and talk to: BPF programs at the group,
//! systemd.resource-control(5).

use std::ffi::CStr;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::absolute;
use super::socket::{BindRule, Links, MAX_BIND_RULES};

/// Most rules of one kind: each becomes a few instructions that run at every check.
pub const MAX_RULES: usize = 256;

/// Devices that harm nobody, by their names below /dev: devices(4), character devices as the kernel numbers them.
pub const HARMLESS_DEVICES: [(&CStr, u32, u32); 6] = [
    (c"null", 1, 3),
    (c"zero", 1, 5),
    (c"full", 1, 7),
    (c"random", 1, 8),
    (c"urandom", 1, 9),
    (c"tty", 5, 0),
];

/// What a group is held to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filters {
    /// The only devices it may open or make; none leaves all.
    pub devices: Option<Vec<DeviceRule>>,
    /// Addresses it may talk to whatever `denied_addresses` says.
    pub allowed_addresses: Vec<Prefix>,
    /// Addresses it may not talk to.
    pub denied_addresses: Vec<Prefix>,
    /// Sockets that may be bound whatever `denied_binds` says.
    pub allowed_binds: Vec<BindRule>,
    /// Sockets that may not be bound.
    pub denied_binds: Vec<BindRule>,
    /// Links that packets may go over; none leaves all.
    pub links: Option<Links>,
}

/// Devices that may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRule {
    /// Which.
    pub devices: Devices,
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
    /// A node of it may be made.
    pub make: bool,
}

/// Which devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Devices {
    /// The one whose node is at this path below `/dev`; none, where there is no such node.
    Node(String),
    /// Those of the drivers in `/proc/devices` whose names match, with `*` and `?`.
    Driver {
        /// Block devices, else character devices.
        block: bool,
        /// Pattern of the name.
        pattern: String,
    },
    /// One by its numbers; all minor numbers, if none is given.
    Number {
        /// A block device, else a character device.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: Option<u32>,
    },
}

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefix {
    /// An address of them.
    pub address: IpAddr,
    /// How many bits are the same.
    pub bits: u8,
}

impl Filters {
    /// Whether nothing is held back.
    pub fn is_empty(&self) -> bool {
        self.devices.is_none()
            && self.allowed_addresses.is_empty()
            && self.denied_addresses.is_empty()
            && self.denied_binds.is_empty()
            && self.links.is_none()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let devices = self.devices.as_deref().unwrap_or_default();
        let counts = [
            ("devices", devices.len()),
            ("allowed_addresses", self.allowed_addresses.len()),
            ("denied_addresses", self.denied_addresses.len()),
        ];
        for (field, count) in counts {
            if count > MAX_RULES {
                return Err(format!("cgroup.filters.{field}: more than {MAX_RULES}"));
            }
        }
        let binds = [&self.allowed_binds, &self.denied_binds];
        if binds.iter().any(|list| list.len() > MAX_BIND_RULES) {
            return Err(format!("cgroup.filters: more than {MAX_BIND_RULES} binds"));
        }
        binds.into_iter().flatten().try_for_each(BindRule::check)?;
        self.links.as_ref().map_or(Ok(()), Links::check)?;
        for rule in devices {
            match &rule.devices {
                Devices::Node(path) if !path.starts_with("/dev/") => {
                    return Err(format!(
                        "cgroup.filters.devices: {path:?} is not below /dev"
                    ));
                }
                Devices::Node(path) => absolute("cgroup.filters.devices", path)?,
                Devices::Driver { pattern, .. } => {
                    super::line("cgroup.filters.devices", pattern)?;
                }
                Devices::Number { .. } => {}
            }
        }
        let mut prefixes = self.allowed_addresses.iter().chain(&self.denied_addresses);
        match prefixes.find(|prefix| prefix.bits > prefix.width()) {
            Some(prefix) => Err(format!(
                "cgroup.filters: {}/{} has too many bits",
                prefix.address, prefix.bits
            )),
            None => Ok(()),
        }
    }
}

impl Prefix {
    /// Bits of an address of its kind.
    pub fn width(self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }
}
