//! Supervision: units from their files to their last process.
//!
//! - [`state`]: what happened to a unit, plain data
//! - [`supervise`]: what follows from each event in a service's life
//! - [`job`]: whose turn it is
//! - [`spawn`]: from a plan to a process
//! - [`supervisor`]: the event loop that ties them together
//! - [`request`]: what clients of the control socket ask
//! - [`runtime_folder`]: what is removed after a service
//! - [`transient`]: units that are only a plan
//! - [`closing`]: descriptors of others, closed where it may take long
//! - [`store`]: descriptors kept for services over their restarts
//!
//! PID 1 never waits for what it supervises. Whatever a unit does, the loop turns and the watchdog is fed.

mod closing;
mod condition;
mod devices;
mod dynamic_user;
mod host;
mod ipc;
mod job;
mod mount_point;
mod node;
mod pid_file;
mod request;
mod runtime_folder;
pub(crate) mod spawn;
mod state;
mod store;
mod supervise;
mod supervisor;
mod transient;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use spec_unit::control::ShutdownAction;

pub(crate) use self::host::raise_open_files;
pub(crate) use self::node::read_bounded;
use crate::error::{Error, Result, What};
use crate::reexec::Inherited;
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
    /// Root may ask PID 1 to crash.
    pub(crate) faults: bool,
    /// Where the kernel tells of memory as a whole.
    pub(crate) proc: PathBuf,
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
            faults: false,
            proc: "/proc".into(),
        }
    }
}

/// What the last image of PID 1 left of its units.
#[derive(Debug)]
pub(crate) struct Resumed {
    state: supervisor::State,
    fds: BTreeMap<RawFd, OwnedFd>,
}

impl Resumed {
    /// Reads it. The error is that it cannot be read, or that PID 1 crashes too often for another try.
    pub(crate) fn read(inherited: Inherited) -> Result<Self> {
        let mut state = supervisor::State::read(&inherited.text)
            .map_err(Error::at(What::EventLoop, "what PID 1 knew before"))?;
        if inherited.crashed {
            state
                .note_crash(host::now_us())
                .map_err(Error::at(What::EventLoop, "PID 1 goes on no more"))?;
        }
        let fds = inherited.fds;
        Ok(Self { state, fds })
    }

    /// The watchdog that is armed.
    pub(crate) fn watchdog(&mut self) -> Option<File> {
        self.fds.remove(&self.state.watchdog()?).map(File::from)
    }

    fn supervisor(mut self, config: &Config) -> Result<supervisor::Supervisor> {
        let mut supervisor = supervisor::Supervisor::resume(config, self.state, &mut self.fds)?;
        crate::notice!(
            "PID 1 goes on; {} descriptors were of no more use",
            self.fds.len()
        );
        supervisor.close(self.fds.into_values());
        Ok(supervisor)
    }
}

/// Supervises until a shutdown is decided and every unit has stopped, or its time is over.
pub(crate) fn run(
    config: &Config,
    watchdog: &mut Watchdog,
    resumed: Option<Resumed>,
) -> Result<ShutdownAction> {
    if config.faults {
        crate::sys::reexec::allow_faults();
    }
    let mut supervisor = match resumed {
        Some(resumed) => resumed.supervisor(config)?,
        None => {
            let mut supervisor = supervisor::Supervisor::open(config)?;
            supervisor.start_target(&config.target);
            supervisor
        }
    };
    crate::log::queue::begin();
    let ended = supervise(&mut supervisor, watchdog);
    crate::log::queue::end();
    let action = ended?;
    if supervisor.goes_at_once() {
        crate::shutdown::at_once(action);
    }
    Ok(action)
}

/// The loop.
fn supervise(
    supervisor: &mut supervisor::Supervisor,
    watchdog: &mut Watchdog,
) -> Result<ShutdownAction> {
    loop {
        supervisor.run_jobs();
        supervisor.answer_waits();
        supervisor.watch_startup();
        if let Some(action) = supervisor.is_over() {
            crate::reexec::disarm();
            return Ok(action);
        }
        supervisor.mirror_changed(watchdog.number());
        supervisor.reexecute_if_asked(watchdog);
        supervisor
            .turn(watchdog.period())
            .map_err(|cause| Error::new(What::EventLoop, cause))?;
        watchdog.feed();
    }
}
