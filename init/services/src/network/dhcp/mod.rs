//! DHCPv4 client. [`packet`] and [`frame`] are bytes, [`lease`] is what is granted, [`machine`] is the protocol over
//! time, [`task`] is the sockets.

pub(crate) mod frame;
pub(crate) mod lease;
pub(crate) mod machine;
pub(crate) mod packet;
pub(crate) mod task;

pub(crate) use lease::Lease;
