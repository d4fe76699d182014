//! Virtual machines, a virtual LAN, whole clusters and faults, without root.
//!
//! Principles: a test reads like a story; what can fail is injected here, from outside the guest, so
//! that no node carries a test hook; nothing outlives the process that started it; every wait has a
//! deadline and says what it waited for.
//!
//! All calls block. The threads inside ([`switch`], [`gateway`]) are owned by their handle and end with
//! it. An asynchronous caller uses a blocking thread (`tokio::task::spawn_blocking`).

pub mod accel;
pub mod cluster;
pub mod disk;
pub mod error;
pub mod etcd;
pub mod fault;
pub mod frame;
pub mod gateway;
pub mod images;
pub mod process;
pub mod qmp;
pub mod runner;
pub mod serial;
pub mod socket;
pub mod states;
pub mod switch;
mod sys;
pub mod vm;
mod worker;

pub use cluster::{Cluster, ClusterSpec, ClusterStatus};
pub use error::{Error, Result};
pub use gateway::Gateway;
pub use switch::{Line, PortId, Switch};
pub use vm::{Boot, Vm, VmSpec};
