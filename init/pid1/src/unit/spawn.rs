//! From an [`ExecPlan`] to a running process.
//!
//! The parent turns the plan into [`Step`]s, with every string ready for the kernel; the child only carries them out.
//! So their order is plain data, tested without root, and nothing is allocated between clone and exec. What a step
//! failed with comes back through a socket that closes at exec: its end without a word means that the program runs.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use spec_unit::plan::ExecPlan;

use crate::sys;
use crate::sys::clone::Birth;
use crate::sys::heap;

pub(crate) mod exec;
mod mounts;
mod order;
pub(crate) mod report;
mod scheduling;
pub(crate) mod step;

pub(crate) use order::steps;
pub(crate) use report::{ExecOutcome, ExecReport, Shared, UnitNamespaces};
pub(crate) use step::{Step, perform};

/// A child whose program may not run yet.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// The process, whose number is its own until PID 1 collects it.
    pub(crate) pid: i32,
    /// Ends at exec; before that, what failed.
    pub(crate) report: ExecReport,
}

/// Makes the process of a plan, in a cgroup. Its program runs once each of `waits` has something to read, or a few seconds
/// for each later.
pub(crate) fn spawn_after(
    plan: &ExecPlan,
    unit: &str,
    cgroup: Option<BorrowedFd<'_>>,
    fds: &[OwnedFd],
    shared: &UnitNamespaces,
    waits: &[BorrowedFd<'_>],
) -> io::Result<Spawned> {
    let steps = heap::handed(|| -> io::Result<_> {
        let mut steps = steps(plan, unit, fds, shared)?;
        // After the signals, so that it can be stopped as it waits.
        let place = steps.len().min(1);
        let waits = waits.iter().map(|wait| Step::Idle(wait.as_raw_fd()));
        steps.splice(place..place, waits);
        Ok(steps)
    })?;
    carry_out(steps, plan, cgroup)
}

/// The same at once.
#[cfg(test)]
pub(crate) fn spawn(
    plan: &ExecPlan,
    unit: &str,
    cgroup: Option<BorrowedFd<'_>>,
    fds: &[OwnedFd],
    shared: &UnitNamespaces,
) -> io::Result<Spawned> {
    spawn_after(plan, unit, cgroup, fds, shared, &[])
}

fn carry_out(
    mut steps: Vec<Step>,
    plan: &ExecPlan,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Spawned> {
    let (slots, files) = (mounts::slots(&steps), plan.fds.opened.len());
    let handed = 3 + plan.fds.listen.len() + files;
    let lowest = RawFd::try_from(handed).map_err(|_| io::ErrorKind::InvalidInput)?;
    let (read, write) = sys::clone::pair(lowest)?;
    let mut kernel = heap::handed(|| sys::child::Kernel::new(write.as_raw_fd(), slots, files));
    let birth = Birth {
        cgroup,
        own_processes: plan.namespaces.processes,
        ..Birth::default()
    };
    let pid = sys::clone::lean(birth, || {
        let failed = perform(&mut kernel, &mut steps).err();
        if let Some((step, failure)) = failed.and_then(|(n, why)| Some((steps.get(n)?, why))) {
            sys::child::fail(write.as_raw_fd(), step, failure)
        }
    })?;
    Ok(Spawned {
        pid,
        report: ExecReport {
            socket: read,
            namespaces: Vec::new(),
            ready: false,
            told: None,
            program: plan.program.clone(),
        },
    })
}

fn text(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{text:?} holds a NUL byte"),
        )
    })
}

#[cfg(test)]
mod tests;
