//! Mutual TLS, certificates, and the clients of Bedplate's APIs.
//!
//! - [`trust`]: the four separate roots, and who a certificate says its holder is.
//! - [`ca`]: making roots, intermediates and certificates; signing requests.
//! - [`tls`]: rustls configurations that check root, purpose, cluster and name.
//! - [`key_file`]: writing keys so that nobody else ever sees them.
//! - [`http`]: bounded requests over such TLS.
//! - [`machine_config`]: reading a machine config with its certificates.
//! - [`node`]: the node API, async and blocking.
//! - [`control`]: PID 1's native control socket.
//! - [`serve`]: the TLS server that the node API and the masters run.
//!
//! What comes back from a peer is bounded in size and time everywhere.

pub mod ca;
pub mod control;
pub mod http;
pub mod key_file;
pub mod machine_config;
pub mod node;
pub mod serve;
pub mod tls;
pub mod trust;
