//! etcd's EnvironmentFile: `ETCD_` and a flag's name (etcd's "Configuration options").

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use spec_layout::port;

use super::credentials::Files;
use super::decide::{Record, Seat};
use crate::guard;

/// A heartbeat and an election that slow disks and busy machines keep.
const HEARTBEAT_MS: u32 = 250;
const ELECTION_MS: u32 = 2500;

/// What one node's etcd is told.
pub(super) struct Environment<'a> {
    pub(super) name: &'a str,
    pub(super) address: IpAddr,
    pub(super) cluster_id: &'a str,
    pub(super) data: &'a Path,
    pub(super) files: &'a Files,
    pub(super) record: &'a Record,
}

/// The URL of a member for its peers.
pub(super) fn peer_url(address: IpAddr) -> String {
    format!("https://{}", SocketAddr::new(address, port::ETCD_PEER))
}

/// The URL of a member for its clients.
fn client_url(address: IpAddr) -> String {
    format!("https://{}", SocketAddr::new(address, port::ETCD_CLIENT))
}

impl Environment<'_> {
    /// The file's text.
    pub(super) fn text(&self) -> String {
        let file = |name: &str| self.files.path(name).display().to_string();
        let seat = |seat: &Seat| format!("{}={}", seat.name, seat.peer_url);
        let initial_cluster: Vec<String> = self.record.initial_cluster.iter().map(seat).collect();
        let (peer, client) = (peer_url(self.address), client_url(self.address));
        let lines = [
            ("NAME", self.name.to_owned()),
            (
                "DATA_DIR",
                self.data
                    .join(self.record.data_folder())
                    .display()
                    .to_string(),
            ),
            ("LISTEN_PEER_URLS", peer.clone()),
            ("LISTEN_CLIENT_URLS", client.clone()),
            ("INITIAL_ADVERTISE_PEER_URLS", peer),
            ("ADVERTISE_CLIENT_URLS", client),
            ("INITIAL_CLUSTER", initial_cluster.join(",")),
            ("INITIAL_CLUSTER_STATE", self.record.mode.to_string()),
            ("INITIAL_CLUSTER_TOKEN", self.cluster_id.to_owned()),
            ("CERT_FILE", file("server.crt")),
            ("KEY_FILE", file("server.key")),
            ("CLIENT_CERT_AUTH", "true".to_owned()),
            ("TRUSTED_CA_FILE", file("client-roots.crt")),
            ("PEER_CERT_FILE", file("peer.crt")),
            ("PEER_KEY_FILE", file("peer.key")),
            ("PEER_CLIENT_CERT_AUTH", "true".to_owned()),
            ("PEER_TRUSTED_CA_FILE", file("peer-roots.crt")),
            // A node with several addresses calls from any of them; the root etcd-peer is what counts.
            (
                "EXPERIMENTAL_PEER_SKIP_CLIENT_SAN_VERIFICATION",
                "true".to_owned(),
            ),
            ("STRICT_RECONFIG_CHECK", "true".to_owned()),
            ("AUTO_COMPACTION_MODE", "periodic".to_owned()),
            ("AUTO_COMPACTION_RETENTION", "1h".to_owned()),
            ("HEARTBEAT_INTERVAL", HEARTBEAT_MS.to_string()),
            ("ELECTION_TIMEOUT", ELECTION_MS.to_string()),
        ];
        let mut text: String = lines
            .iter()
            .map(|(key, value)| format!("ETCD_{key}={value}\n"))
            .collect();
        // For the guard, which reads the same file.
        text += &format!("{}={}\n", guard::CONFIRMED, self.record.confirmed);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::decide::{Mode, RECORD_VERSION};

    #[test]
    fn the_file_tells_etcd_who_it_is_and_with_whom() {
        let seats = ["10.77.0.11", "fd00::12"].map(|ip| {
            let peer_url = peer_url(ip.parse().unwrap());
            Seat {
                name: format!("dev-{}", &ip[ip.len() - 1..]),
                peer_url,
            }
        });
        let record = Record {
            version: RECORD_VERSION,
            generation: 3,
            mode: Mode::Existing,
            initial_cluster: seats.to_vec(),
            member_id: Some(7),
            confirmed: false,
        };
        let files = Files::new("/keys".into());
        let environment = Environment {
            name: "dev-1",
            address: "10.77.0.11".parse().unwrap(),
            cluster_id: "00ff",
            data: Path::new("/var/lib/etcd"),
            files: &files,
            record: &record,
        };
        let text = environment.text();
        for line in [
            "ETCD_NAME=dev-1",
            "ETCD_DATA_DIR=/var/lib/etcd/member-3",
            "ETCD_INITIAL_CLUSTER=dev-1=https://10.77.0.11:2380,dev-2=https://[fd00::12]:2380",
            "ETCD_INITIAL_CLUSTER_STATE=existing",
            "ETCD_PEER_CLIENT_CERT_AUTH=true",
            "ETCD_KEY_FILE=/keys/server.key",
            "BEDPLATE_ETCD_CONFIRMED=false",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
