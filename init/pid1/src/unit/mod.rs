//! Supervision: units from their files to their last process.
//!
//! - [`state`]: what happened to a unit, plain data
//! - [`supervise`]: what follows from each event in a service's life
//! - [`job`]: whose turn it is
//! - [`spawn`]: from a plan to a process
//! - [`supervisor`]: the event loop that ties them together
//! - [`request`]: what clients of the control socket ask
//! - [`runtime_folder`]: what is removed after a service
//! - [`store`]: descriptors kept for services over their restarts
//!
//! PID 1 never waits for what it supervises. Whatever a unit does, the loop turns and the watchdog is fed.

mod condition;
mod dynamic_user;
mod host;
mod job;
mod node;
mod pid_file;
mod request;
mod runtime_folder;
pub(crate) mod spawn;
mod state;
mod store;
mod supervise;
mod supervisor;

use std::path::PathBuf;
use std::time::Duration;

use spec_unit::control::ShutdownAction;

use crate::error::{Error, Result, What};
use crate::watchdog::Watchdog;

/// Where supervision finds and puts things.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where the folders of unit files are.
    pub(crate) root: PathBuf,
    /// The unit that is started first.
    pub(crate) target: String,
    /// The mount point of the control groups.
    pub(crate) cgroup_root: PathBuf,
    /// The socket of sd_notify.
    pub(crate) notify_socket: PathBuf,
    /// The native control socket.
    pub(crate) control_socket: PathBuf,
    /// Units that may ask for isolation that is not implemented: one name a line.
    pub(crate) isolation_allowed: PathBuf,
    /// Time for all units to stop at a shutdown.
    pub(crate) shutdown_deadline: Duration,
    /// Where RebootArgument= is left for the end.
    pub(crate) reboot_argument: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: "/".into(),
            target: "default.target".into(),
            cgroup_root: "/sys/fs/cgroup".into(),
            notify_socket: spec_layout::path::NOTIFY_SOCKET.into(),
            control_socket: spec_layout::path::CONTROL_SOCKET.into(),
            isolation_allowed: spec_layout::path::ISOLATION_ALLOWED.into(),
            shutdown_deadline: Duration::from_secs(90),
            reboot_argument: crate::shutdown::ARGUMENT.into(),
        }
    }
}

/// Supervises until a shutdown is decided and every unit has stopped, or its time is over.
pub(crate) fn run(config: &Config, watchdog: &mut Watchdog) -> Result<ShutdownAction> {
    let mut supervisor = supervisor::Supervisor::open(config)?;
    supervisor.start_target(&config.target);
    loop {
        supervisor.run_jobs();
        supervisor.watch_startup();
        if let Some(action) = supervisor.is_over() {
            if supervisor.goes_at_once() {
                crate::shutdown::at_once(action);
            }
            return Ok(action);
        }
        supervisor
            .turn(watchdog.period())
            .map_err(|cause| Error::new(What::EventLoop, cause))?;
        watchdog.feed();
    }
}
