//! The network of a node: links, addresses, routes and name servers as the machine config says.
//!
//! Principles: what shall be is computed from config, links and leases ([`link`], [`state`]) and compared with what
//! is, at each change and now and then; only the difference is done. What the service did not make and the config does
//! not speak of stays. Without a config every link that has a device asks by DHCPv4 ([`dhcp`]).
//!
//! Links that the config makes are made, and removed when it speaks of them no more ([`structure`]); then the steps for
//! all links are done in one order ([`plan`]), none of them too often ([`rate`]). SIGHUP has the config read anew.
//!
//! READY is told when everything is configured, or after [`service::PATIENCE`] with what still lacks, so that
//! network-online.target never holds a boot for ever.
//!
//! Only [`netlink`] knows the netlink crates. The service runs without root: the config's network part comes to it as
//! `spec_layout::path::NETWORK_CONFIG`.

mod apply;
mod config;
mod device;
mod dhcp;
mod link;
mod netlink;
mod plan;
mod rate;
mod resolv;
mod service;
mod state;
mod structure;
mod view;

use std::process::ExitCode;

/// Runs the network service until SIGTERM.
pub(crate) fn main(_args: &[String]) -> ExitCode {
    crate::logging::start("network", crate::logging::Target::Journal);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime.and_then(|runtime| runtime.block_on(service::run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
