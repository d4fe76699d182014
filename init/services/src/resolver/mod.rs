//! The node's own resolver: programs ask it at 127.0.0.53, and it asks the upstreams of the machine config and the
//! leases, over UDP, TCP and TLS.
//!
//! It is no recursive resolver: upstreams are trusted for what they answer, and for that only. Questions go [`route`] by
//! route to upstreams ([`forward`], [`upstream`], [`health`]); answers are kept under their question ([`cache`]), and
//! what is asked twice at the same time goes out once ([`answering`]). Names of the node's own stand in [`zone`], the
//! place where the cluster's will be answered. Every byte from a client or an upstream is read in [`wire`].
//!
//! The network service writes whom to ask to `spec_layout::path::RESOLVER_CONFIG`; a change is seen by inotify
//! ([`watch`]) and taken without a restart. What cannot be read leaves what was before.
//!
//! Only this node is answered: the address is the loopback's.

mod answering;
mod cache;
mod counters;
mod forward;
#[cfg(test)]
#[path = "../../../../fuzz/inputs/dns.rs"]
mod fuzz_input;
mod health;
mod kernel;
mod route;
mod serve;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod upstream;
mod watch;
mod wire;
mod zone;

use std::process::ExitCode;

/// Runs the resolver until SIGTERM.
pub(crate) fn main(_args: &[String]) -> ExitCode {
    crate::logging::start("resolver", crate::logging::Target::Journal);
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

/// Locks what no holder leaves half changed.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
