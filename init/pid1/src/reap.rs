//! The reaper: every process that ends while units are supervised, ours or an orphan, is collected here. A step that
//! boot or shutdown waits for itself collects its own child, and the last of a shutdown collects whatever is left.
//!
//! A process that has ended is first seen ([`ended`]) and then collected ([`collect`]). In between its number is still
//! its own, and so is its control group: what it said last is told from what another process says.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};
use spec_unit::control::ExitStatus;

pub(crate) use crate::sys::wait::ended;

/// Most processes collected at a time, so that a storm of orphans does not keep the loop from its other work.
pub(crate) const BATCH: usize = 256;

/// Collects a process that has ended: its number may be used anew. None if it is no child of ours, or runs.
pub(crate) fn collect(pid: i32) -> Option<ExitStatus> {
    let id = WaitId::Pid(Pid::from_raw(pid)?);
    let status = waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok()??;
    Some(exit_status(&status))
}

/// Whether a process is a child of ours: if not, its parent alone learns how it ends.
pub(crate) fn is_child(pid: i32) -> bool {
    let seen = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Pid::from_raw(pid).is_some_and(|pid| waitid(WaitId::Pid(pid), seen).is_ok())
}

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Exited(code),
        (None, Some(signal)) if status.dumped() => ExitStatus::Dumped(signal),
        (None, Some(signal)) => ExitStatus::Signaled(signal),
        // Only stops and continues remain, which were not asked for.
        (None, None) => ExitStatus::Exited(255),
    }
}

/// Who waits for which process.
#[derive(Debug)]
pub(crate) struct Reaper<T> {
    owners: BTreeMap<i32, T>,
    /// The same by owner.
    processes: BTreeSet<(T, i32)>,
    /// Whose processes are others since that was last asked.
    changed: Vec<T>,
}

impl<T> Default for Reaper<T> {
    fn default() -> Self {
        Self {
            owners: BTreeMap::new(),
            processes: BTreeSet::new(),
            changed: Vec::new(),
        }
    }
}

impl<T: Copy + Ord> Reaper<T> {
    /// Registers who waits for a process.
    pub(crate) fn register(&mut self, pid: i32, owner: T) {
        self.forget(pid);
        self.owners.insert(pid, owner);
        self.processes.insert((owner, pid));
        self.changed.push(owner);
    }

    /// Who waits for this process.
    pub(crate) fn owner(&self, pid: i32) -> Option<T> {
        self.owners.get(&pid).copied()
    }

    /// Every process that somebody from `first` to `last` waits for.
    pub(crate) fn of(&self, first: T, last: T) -> impl Iterator<Item = (i32, T)> + '_ {
        let range = self.processes.range((first, i32::MIN)..=(last, i32::MAX));
        range.map(|(owner, pid)| (*pid, *owner))
    }

    /// Nobody waits for this process any more; who did.
    pub(crate) fn forget(&mut self, pid: i32) -> Option<T> {
        let owner = self.owners.remove(&pid)?;
        self.processes.remove(&(owner, pid));
        self.changed.push(owner);
        Some(owner)
    }

    /// Whose processes are others since the last call.
    pub(crate) fn take_changed(&mut self) -> Vec<T> {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_of_to_its_owner_until_it_is_forgotten() {
        let mut reaper = Reaper::default();
        reaper.register(7, "etcd");
        assert_eq!(reaper.owner(7), Some("etcd"));
        assert_eq!(reaper.forget(7), Some("etcd"));
        assert_eq!(reaper.forget(7), None);
        assert_eq!(reaper.take_changed(), ["etcd", "etcd"]);
    }

    #[test]
    fn processes_are_found_by_their_owner() {
        let mut reaper = Reaper::default();
        for (pid, owner) in [(7, 'a'), (8, 'b'), (9, 'b'), (10, 'c'), (8, 'c')] {
            reaper.register(pid, owner);
        }
        let of = |first, last| reaper.of(first, last).collect::<Vec<_>>();
        assert_eq!(of('b', 'b'), [(9, 'b')]);
        assert_eq!(of('b', 'c'), [(9, 'b'), (8, 'c'), (10, 'c')]);
    }

    #[test]
    fn a_process_keeps_its_number_until_it_is_collected() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "kill -34 $$"])
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let id = WaitId::Pid(Pid::from_raw(pid).unwrap());
        waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        assert!(ended().is_some() && is_child(pid));
        assert!(std::path::Path::new(&format!("/proc/{pid}/cgroup")).exists());
        assert_eq!(collect(pid), Some(ExitStatus::Signaled(34)));
        assert_eq!((collect(pid), is_child(pid)), (None, false));
        assert!(child.wait().is_err());
    }
}
