//! A lease, and its file in the service's run folder: after a restart of the service the address stays and is
//! confirmed, not asked for anew.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::network::dhcp::packet::{FromServer, is_host};

/// Shorter leases are kept for this long all the same: a hostile one must not make the client spin.
const LEASE_MIN: u32 = 60;
/// Largest lease file that is read.
const FILE_MAX: u64 = 64 * 1024;

/// What a server granted. Times are CLOCK_BOOTTIME.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// The server that granted it.
    pub server: Ipv4Addr,
    /// Destination, prefix length, router (0.0.0.0: on the link).
    pub routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// Name servers.
    pub name_servers: Vec<Ipv4Addr>,
    /// Search domain.
    pub domain: Option<String>,
    /// Largest packet.
    pub mtu: Option<u16>,
    /// When to ask the server for more time.
    pub renew_at: Duration,
    /// When to ask any server.
    pub rebind_at: Duration,
    /// When it ends; `Duration::MAX` for never.
    pub expires_at: Duration,
}

impl Lease {
    /// Reads an offer or ack that came in at `now`; the error says what it lacks.
    pub(crate) fn from_message(message: &FromServer, now: Duration) -> Result<Self, &'static str> {
        if !is_host(message.address) {
            return Err("no usable address");
        }
        let server = message.server.ok_or("no server identifier")?;
        let seconds = message.lease_time.ok_or("no lease time")?;
        let prefix = message
            .prefix
            .unwrap_or_else(|| class_prefix(message.address));
        let (renew_at, rebind_at, expires_at) = times(seconds, message, now);
        // Where a server gives classless routes, its routers do not count (RFC 3442).
        let routes = if message.classless_routes.is_empty() {
            message
                .routers
                .iter()
                .take(1)
                .map(|router| (Ipv4Addr::UNSPECIFIED, 0, *router))
                .collect()
        } else {
            message.classless_routes.clone()
        };
        Ok(Self {
            address: message.address,
            prefix,
            server,
            routes,
            name_servers: message.name_servers.clone(),
            domain: message.domain.clone(),
            mtu: message.mtu.filter(|mtu| *mtu >= 576),
            renew_at,
            rebind_at,
            expires_at,
        })
    }

    /// Reads the lease of an interface, if it holds at `now`.
    pub(crate) fn load(folder: &Path, interface: &str, now: Duration) -> Option<Self> {
        let path = file(folder, interface);
        let length = std::fs::metadata(&path).ok()?.len();
        if length > FILE_MAX {
            return None;
        }
        let lease: Self = serde_json::from_slice(&std::fs::read(&path).ok()?)
            .inspect_err(|error| log::warn!("{}: {error}; asking for a new lease", path.display()))
            .ok()?;
        (lease.expires_at > now && is_host(lease.address) && lease.prefix <= 32).then_some(lease)
    }

    /// Writes it, whole or not at all.
    pub(crate) fn save(&self, folder: &Path, interface: &str) -> io::Result<()> {
        let path = file(folder, interface);
        let draft = path.with_extension("lease.new");
        std::fs::write(&draft, serde_json::to_vec(self)?)?;
        std::fs::rename(draft, path)
    }

    /// Forgets the lease of an interface.
    pub(crate) fn remove(folder: &Path, interface: &str) {
        let _ = std::fs::remove_file(file(folder, interface));
    }
}

fn file(folder: &Path, interface: &str) -> PathBuf {
    folder.join(format!("{interface}.lease"))
}

fn times(seconds: u32, message: &FromServer, now: Duration) -> (Duration, Duration, Duration) {
    if seconds == u32::MAX {
        return (Duration::MAX, Duration::MAX, Duration::MAX);
    }
    let lease = u64::from(seconds.max(LEASE_MIN));
    let given = (
        message.renewal_time.map(u64::from),
        message.rebinding_time.map(u64::from),
    );
    let (renew, rebind) = match given {
        (Some(renew), Some(rebind)) if 0 < renew && renew < rebind && rebind < lease => {
            (renew, rebind)
        }
        _ => (lease / 2, lease * 7 / 8),
    };
    let at = |seconds| now + Duration::from_secs(seconds);
    (at(renew), at(rebind), at(lease))
}

/// The prefix of an address whose server sent no mask.
fn class_prefix(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::network::dhcp::packet::tests::reply;

    const NOW: Duration = Duration::from_secs(1000);

    fn message(options: &[(u8, &[u8])]) -> FromServer {
        FromServer::parse(&reply(5, 1, [10, 0, 2, 15], options)).unwrap()
    }

    /// A lease of an hour, for tests of other files too.
    pub(crate) fn hour() -> Lease {
        let options: [(u8, &[u8]); 4] = [
            (54, &[10, 0, 2, 2]),
            (51, &[0, 0, 14, 16]),
            (1, &[255, 255, 255, 0]),
            (3, &[10, 0, 2, 2]),
        ];
        Lease::from_message(&message(&options), NOW).unwrap()
    }

    #[test]
    fn times_come_from_the_lease_time_where_the_server_gives_none() {
        let lease = hour();
        assert_eq!(lease.renew_at, NOW + Duration::from_secs(1800));
        assert_eq!(lease.rebind_at, NOW + Duration::from_secs(3150));
        assert_eq!(lease.expires_at, NOW + Duration::from_secs(3600));
    }

    #[test]
    fn odd_times_are_replaced_and_short_leases_lengthened() {
        let lease = Lease::from_message(
            &message(&[(54, &[10, 0, 2, 2]), (51, &[0; 4]), (58, &[0xff; 4])]),
            NOW,
        )
        .unwrap();
        assert_eq!(lease.expires_at, NOW + Duration::from_secs(60));
        assert!(lease.renew_at < lease.rebind_at && lease.rebind_at < lease.expires_at);
    }

    #[test]
    fn classless_routes_stand_in_for_routers() {
        let lease = Lease::from_message(
            &message(&[
                (54, &[10, 0, 2, 2]),
                (51, &[0, 0, 14, 16]),
                (3, &[10, 0, 2, 2]),
                (121, &[0, 10, 0, 2, 9]),
            ]),
            NOW,
        )
        .unwrap();
        assert_eq!(
            lease.routes,
            [(Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::new(10, 0, 2, 9))]
        );
        assert_eq!(lease.prefix, 8);
    }

    #[test]
    fn a_message_without_server_or_time_is_no_lease() {
        assert_eq!(
            Lease::from_message(&message(&[(51, &[0, 0, 14, 16])]), NOW),
            Err("no server identifier")
        );
        assert_eq!(
            Lease::from_message(&message(&[(54, &[10, 0, 2, 2])]), NOW),
            Err("no lease time")
        );
    }

    #[test]
    fn a_saved_lease_is_found_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        hour().save(folder.path(), "enp0s2").unwrap();
        assert_eq!(Lease::load(folder.path(), "enp0s2", NOW), Some(hour()));
        assert_eq!(
            Lease::load(folder.path(), "enp0s2", NOW + Duration::from_secs(3600)),
            None
        );
        std::fs::write(folder.path().join("enp0s2.lease"), "{").unwrap();
        assert_eq!(Lease::load(folder.path(), "enp0s2", NOW), None);
    }
}
