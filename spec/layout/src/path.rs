//! Files and folders of a running node.

/// PID 1 in the root; in the initramfs it is `/init`.
pub const INIT: &str = "/usr/lib/bedplate/init";
/// The multi-call program of the node services.
pub const SERVICES: &str = "/usr/lib/bedplate/services";
/// The multi-call program of the datacenter components.
pub const CLUSTER: &str = "/usr/lib/bedplate/cluster";
/// The tmpfiles.d lines of the image, compiled by the builder ([`crate::tmpfiles`]).
pub const TMPFILES: &str = "/usr/lib/bedplate/tmpfiles";
/// Its modification time is the image's build time: the clock is never before it (as in systemd's clock-epoch).
pub const CLOCK_EPOCH: &str = "/usr/lib/clock-epoch";
/// Units that the recipe lets run although they ask for isolation that is not implemented: one name a line.
pub const ISOLATION_ALLOWED: &str = "/usr/lib/bedplate/isolation-allowed";
/// Debian packages of the image, sorted, one a line: name, version, and `changed` where a file of it is not the
/// package's; a space between.
pub const PACKAGES: &str = "/usr/lib/bedplate/packages";

/// There once the clock agrees with a time server, as systemd-timesyncd's.
pub const TIME_SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// The time servers of the machine config, `spec_config::Time` as JSON (0644): what the time service reads.
pub const TIME_CONFIG: &str = "/run/bedplate/time.json";

/// Folder of what is ours at run time.
pub const RUN: &str = "/run/bedplate";
/// A folder, a file and devices that nobody can open: what InaccessiblePaths= shows.
pub const INACCESSIBLE_FOLDER: &str = "/run/bedplate/inaccessible/folder";
/// See [`INACCESSIBLE_FOLDER`].
pub const INACCESSIBLE_FILE: &str = "/run/bedplate/inaccessible/file";
/// See [`INACCESSIBLE_FOLDER`]. Root may open a file of any mode, but no device that there is no driver for.
pub const INACCESSIBLE_CHARACTER: &str = "/run/bedplate/inaccessible/character";
/// See [`INACCESSIBLE_CHARACTER`].
pub const INACCESSIBLE_BLOCK: &str = "/run/bedplate/inaccessible/block";
/// PID 1's native control socket (SOCK_SEQPACKET, `spec_unit::control`).
pub const CONTROL_SOCKET: &str = "/run/bedplate/control.sock";
/// sd_notify datagrams.
pub const NOTIFY_SOCKET: &str = "/run/systemd/notify";
/// Native journal datagrams.
pub const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
/// stdout streams.
pub const JOURNAL_STDOUT: &str = "/run/systemd/journal/stdout";
/// syslog.
pub const JOURNAL_DEV_LOG: &str = "/run/systemd/journal/dev-log";
/// Where the journal answers queries (stream, one JSON line per entry).
pub const JOURNAL_QUERY: &str = "/run/bedplate/journal.sock";
/// Credentials of units: a folder each, by their names.
pub const CREDENTIALS: &str = "/run/credentials";
/// Credentials handed in by firmware, imported by PID 1 (0700, files 0400).
pub const SYSTEM_CREDENTIALS: &str = "/run/credentials/@system";
/// The machine config as it was found, validated (0600).
pub const MACHINE_CONFIG: &str = "/run/bedplate/machine.toml";
/// The network part of the machine config, `spec_config::Network` as JSON (0644): what the network service reads.
pub const NETWORK_CONFIG: &str = "/run/bedplate/network.json";
/// Where the keeper of the machine config answers the node API (one JSON line each way; its group only).
pub const CONFIG_SOCKET: &str = "/run/bedplate/config.sock";
/// The config on trial and when it goes back (0600): how a trial outlives its keeper.
pub const CONFIG_TRIAL: &str = "/run/bedplate/config-trial.json";
/// There while a machine config is being taken up: what the programs of the node work by is not known.
pub const CONFIG_CHANGING: &str = "/run/bedplate/config-changing.json";
/// SHA-256 of the machine config that the platform offered at this boot, a JSON string or null.
pub const CONFIG_OFFER: &str = "/run/bedplate/config-offer.json";
/// Folder of the network service: leases, [`NETWORK_VIEW`], [`RESOLV_CONF`] and [`RESOLVER_CONFIG`].
pub const NETWORK_RUN: &str = "/run/bedplate/network";
/// What the network service knows, `spec_api::NetworkView` as JSON (0644).
pub const NETWORK_VIEW: &str = "/run/bedplate/network/state.json";
/// resolv.conf(5), which names [`crate::address::RESOLVER`]; `/etc/resolv.conf` links to it.
pub const RESOLV_CONF: &str = "/run/bedplate/network/resolv.conf";
/// What the node's resolver works by, `spec_config::Resolver` as JSON (0644): upstreams of the config and the leases.
pub const RESOLVER_CONFIG: &str = "/run/bedplate/network/resolver.json";
/// Folder of the journal's entries before and without a disk.
pub const JOURNAL_VOLATILE: &str = "/run/log/bedplate";
/// Folder of the journal's entries on the state partition.
pub const JOURNAL_PERSISTENT: &str = "/var/log/bedplate";
/// What PID 1 and the API say of the config: `spec_config::BootFacts` as JSON.
pub const BOOT_FACTS: &str = "/run/bedplate/boot-facts.json";
/// One empty file per role of this node, for `ConditionPathExists=`.
pub const ROLES: &str = "/run/bedplate/roles";
/// What PID 1 saw on the way up: `key=value` lines (root_hash, root_verified, root_device, ram, previous_boot, degraded).
pub const BOOT_REPORT: &str = "/run/bedplate/boot-report";
/// Node id: 32 hex digits and a line feed.
pub const NODE_ID: &str = "/run/bedplate/node-id";
/// Keys and certificates of this node, on the state partition (folder 0700).
pub const TRUST: &str = "/var/lib/bedplate/trust";
/// What the node API's process reads of the machine config: `spec_config::NodeConfig` as JSON, for its user only.
pub const NODE_CONFIG: &str = "/run/bedplate/node-config.json";
/// Folder of the cluster program at run time (its RuntimeDirectory=).
pub const CLUSTER_RUN: &str = "/run/bedplate/cluster";
/// Socket on which the cluster program answers the node API (etcd members).
pub const CLUSTER_SOCKET: &str = "/run/bedplate/cluster/cluster.sock";
/// EnvironmentFile of etcd, written by the cluster program.
pub const ETCD_ENV: &str = "/run/bedplate/cluster/etcd.env";
/// Folder of the cluster program on the state partition: etcd's keys and what was decided about its membership.
pub const CLUSTER_STATE: &str = "/var/lib/bedplate/cluster";
/// etcd's data.
pub const ETCD_DATA: &str = "/var/lib/etcd";

/// Mount point of the state partition; `/var` is its folder `var`.
pub const STATE: &str = "/state";
/// Machine configs: `history/NUMBER.toml` (0600) with a record each, and links to the one in force, one per schema
/// version (`1.toml`), and to the one for the next boot (`next`).
pub const STATE_CONFIG: &str = "/state/config";
/// `layout_version` of the state partition: decimal and a line feed.
pub const STATE_LAYOUT: &str = "/state/layout_version";
/// Present while the machine runs, absent after a clean shutdown: how the next boot knows (see `boot_report`).
pub const STATE_RUNNING: &str = "/state/running";
/// Node id as the state partition keeps it, with the SMBIOS UUID it is bound to: `ID UUID` and a line feed.
pub const STATE_NODE_ID: &str = "/state/node-id";
/// What `volume setup` found, for PID 1: `key=value` lines (device, previous_boot, problem).
pub const STATE_REPORT: &str = "/run/bedplate/state-report";
