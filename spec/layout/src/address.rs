//! Addresses that every node has.

use std::net::Ipv4Addr;

/// Where the node's own resolver answers, on port [`crate::port::DNS`]: what `/etc/resolv.conf` names. The same as
/// systemd-resolved's stub, which programs and people know.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
