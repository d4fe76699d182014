//! The only reaper: every process that ends, ours or an orphan, is waited for here and nowhere else.
//!
//! A status may come before anyone asked for it: a service says MAINPID of a process that has ended already. So the
//! statuses of processes that nobody registered are kept for a while, and are not lost to that race.

use std::collections::{BTreeMap, VecDeque};

use rustix::process::{WaitOptions, WaitStatus};
use spec_unit::control::ExitStatus;

/// Statuses of unregistered processes kept.
const KEPT: usize = 512;
/// Most statuses taken at a time, so that a storm of orphans does not keep the loop from its other work.
const BATCH: usize = 256;

/// Who waits for which process.
#[derive(Debug)]
pub(crate) struct Reaper<T> {
    registered: BTreeMap<i32, T>,
    ended: VecDeque<(i32, ExitStatus)>,
}

impl<T> Default for Reaper<T> {
    fn default() -> Self {
        Self {
            registered: BTreeMap::new(),
            ended: VecDeque::new(),
        }
    }
}

impl<T: Copy> Reaper<T> {
    /// Registers a process that was just made: an older status of the same number is another process's.
    pub(crate) fn register_new(&mut self, pid: i32, owner: T) {
        self.ended.retain(|(ended, _)| *ended != pid);
        self.registered.insert(pid, owner);
    }

    /// Registers a process that was told to us. Its status, if it has ended already.
    pub(crate) fn register_known(&mut self, pid: i32, owner: T) -> Option<ExitStatus> {
        let position = self.ended.iter().position(|(ended, _)| *ended == pid);
        match position.and_then(|position| self.ended.remove(position)) {
            Some((_, status)) => Some(status),
            None => {
                self.registered.insert(pid, owner);
                None
            }
        }
    }

    /// Who waits for this process.
    pub(crate) fn owner(&self, pid: i32) -> Option<T> {
        self.registered.get(&pid).copied()
    }

    /// Nobody waits for this process any more.
    pub(crate) fn forget(&mut self, pid: i32) {
        self.registered.remove(&pid);
    }

    /// Takes in what the kernel says of one process; the owner, if one waits.
    pub(crate) fn ended(&mut self, pid: i32, status: ExitStatus) -> Option<(i32, T, ExitStatus)> {
        if let Some(owner) = self.registered.remove(&pid) {
            return Some((pid, owner, status));
        }
        self.ended.push_back((pid, status));
        if self.ended.len() > KEPT {
            self.ended.pop_front();
        }
        None
    }

    /// Waits for the processes that have ended, without blocking; whether there may be more.
    pub(crate) fn reap(&mut self) -> (Vec<(i32, T, ExitStatus)>, bool) {
        let mut owned = Vec::new();
        for _ in 0..BATCH {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    owned.extend(self.ended(pid.as_raw_nonzero().get(), exit_status(status)))
                }
                Err(rustix::io::Errno::INTR) => {}
                Ok(None) | Err(_) => return (owned, false),
            }
        }
        (owned, true)
    }
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Exited(code),
        (None, Some(signal)) => ExitStatus::Signaled(signal),
        // Only stops and continues remain, which were not asked for.
        (None, None) => ExitStatus::Exited(255),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registered_process_reports_to_its_owner_once() {
        let mut reaper = Reaper::default();
        reaper.register_new(7, "etcd");
        assert_eq!(reaper.owner(7), Some("etcd"));
        assert_eq!(
            reaper.ended(7, ExitStatus::Exited(3)),
            Some((7, "etcd", ExitStatus::Exited(3)))
        );
        assert_eq!(reaper.ended(7, ExitStatus::Exited(3)), None);
        assert_eq!(reaper.ended.len(), 1);
    }

    #[test]
    fn a_status_that_comes_before_its_registration_is_not_lost() {
        let mut reaper = Reaper::default();
        reaper.ended(8, ExitStatus::Signaled(9));
        assert_eq!(
            reaper.register_known(8, "etcd"),
            Some(ExitStatus::Signaled(9))
        );
        assert_eq!(reaper.register_known(8, "etcd"), None);
    }

    #[test]
    fn a_number_used_anew_has_no_old_status() {
        let mut reaper = Reaper::default();
        reaper.ended(9, ExitStatus::Exited(0));
        reaper.register_new(9, "new");
        assert_eq!(
            reaper.ended(9, ExitStatus::Exited(1)),
            Some((9, "new", ExitStatus::Exited(1)))
        );
    }

    #[test]
    fn statuses_nobody_asks_for_do_not_pile_up() {
        let mut reaper = Reaper::<()>::default();
        for pid in 1000..6000 {
            reaper.ended(pid, ExitStatus::Exited(0));
        }
        assert_eq!(reaper.ended.len(), KEPT);
    }
}
