//! Ports that a node listens on: TCP, and UDP where it is said.

/// Node API, mutual TLS under the root `node-api`.
pub const NODE_API: u16 = 7443;
/// Joining and cluster-internal calls on masters, TLS under the root `cluster`.
pub const CLUSTER: u16 = 7444;
/// etcd, clients (root `etcd-client`).
pub const ETCD_CLIENT: u16 = 2379;
/// etcd, peers (root `etcd-peer`).
pub const ETCD_PEER: u16 = 2380;
/// The node's own resolver, UDP and TCP, on [`crate::address::RESOLVER`] only.
pub const DNS: u16 = 53;
/// DNS over TLS, of other machines (RFC 7858).
pub const DNS_OVER_TLS: u16 = 853;
