//! The network of a node as its network service sees it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the network service knows; written to `spec_layout::path::NETWORK_VIEW` whenever it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkView {
    /// Everything is as the machine config asks for.
    pub configured: bool,
    /// What lacks, one line each.
    pub missing: Vec<String>,
    /// All links, by their index.
    pub links: Vec<LinkView>,
    /// There is more than is told here: a list was cut.
    pub truncated: bool,
}

/// One link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkView {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// The kernel's name of its kind, such as `bond`; nothing where a device made it.
    pub kind: Option<String>,
    /// The machine config speaks of it, or DHCP is asked on it for want of one.
    pub managed: bool,
    /// The network service made it.
    pub made: bool,
    /// Hardware address.
    pub mac: Option<String>,
    /// Kernel driver of its device.
    pub driver: Option<String>,
    /// Where its device is, as udev's ID_PATH.
    pub path: Option<String>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Something is at the other end.
    pub carrier: bool,
    /// The bond or bridge that it is a member of.
    pub master: Option<String>,
    /// The links that are its members.
    pub members: Vec<String>,
    /// The link that carries its frames.
    pub parent: Option<String>,
    /// Addresses on it.
    pub addresses: Vec<AddressView>,
    /// Routes over it that the network service made.
    pub routes: Vec<RouteView>,
    /// What DHCP granted.
    pub lease: Option<LeaseView>,
}

/// One address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressView {
    /// `ADDRESS/PREFIX`.
    pub address: String,
    /// Of more than the link or the host.
    pub global: bool,
    /// Without an end of its own.
    pub permanent: bool,
    /// Duplicate address detection still runs.
    pub tentative: bool,
    /// Somebody else on the link has it.
    pub duplicate: bool,
}

/// One route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteView {
    /// Destination, `ADDRESS/PREFIX`.
    pub to: String,
    /// Next hop; nothing where the destination is on the link.
    pub via: Option<String>,
    /// Lower is preferred.
    pub metric: u32,
    /// Who asked for it, such as `static` or `dhcp`.
    pub origin: String,
}

/// One lease. Times are seconds of CLOCK_BOOTTIME, which `GET /v1/status` tells as `uptime_seconds`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    /// `ADDRESS/PREFIX`.
    pub address: String,
    /// The server that granted it.
    pub server: String,
    /// When the server is asked for more time.
    pub renew_at_seconds: u64,
    /// When it ends; nothing for never.
    pub expires_at_seconds: Option<u64>,
}
