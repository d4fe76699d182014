//! Who is at the other end of a connection.
//!
//! A user, and for root what its unit leaves of that: Linux gives a process of user 0 little without capabilities, and
//! CAP_SYS_ADMIN in the first user namespace is the one that all others follow from (capabilities(7)). So root is behind
//! walls if it lacks that, or if a filter of system calls may keep it from using it. Which unit it is of is told by its
//! number as a main process: into a control group a process of root may put itself.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

use crate::sys;

/// CAP_SYS_ADMIN of linux/capability.h.
const SYS_ADMIN: u32 = 21;

/// A client as its rights are made of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    /// Its user.
    pub(super) uid: u32,
    /// Root, and behind walls.
    pub(super) is_walled: bool,
    /// The unit whose main process it is.
    pub(super) unit: Option<String>,
}

impl Peer {
    /// A user without walls or unit.
    #[cfg(test)]
    pub(super) fn user(uid: u32) -> Self {
        Self {
            uid,
            ..Self::default()
        }
    }

    /// Whoever has connected; `unit_of` tells whose main process has this number.
    pub(super) fn of(socket: &OwnedFd, unit_of: impl Fn(i32) -> Option<String>) -> Option<Self> {
        let told = sockopt::socket_peercred(socket).ok()?;
        let (uid, pid) = (told.uid.as_raw(), told.pid.as_raw_nonzero().get());
        if uid != 0 {
            return Some(Self {
                uid,
                ..Self::default()
            });
        }
        let process = sys::message::peer(socket.as_fd());
        let (is_free, unit) = (is_free(pid), unit_of(pid));
        // Only if it has not ended was the number its own all the time.
        let lives = process.is_ok_and(|process| {
            let mut ended = [PollFd::new(&process, PollFlags::IN)];
            poll(&mut ended, Some(&Timespec::default())) == Ok(0)
        });
        Some(Self {
            uid,
            is_walled: !(lives && is_free),
            unit: unit.filter(|_| lives),
        })
    }
}

/// Whether nothing is between this process and the node.
fn is_free(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/user")).ok();
    let own = namespace("self");
    own.is_some() && own == namespace(&pid.to_string()) && is_mighty(&status)
}

/// Whether the status of a process, as in proc_pid_status(5), tells of CAP_SYS_ADMIN and of no filter.
fn is_mighty(status: &str) -> bool {
    let value = |name: &str| {
        let mut values = status.lines().filter_map(|line| line.strip_prefix(name));
        values.next().map(str::trim)
    };
    let capabilities = value("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let filtered = value("Seccomp:").is_some_and(|mode| mode != "0");
    capabilities.is_some_and(|all| all >> SYS_ADMIN & 1 == 1) && !filtered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_mighty_with_the_one_capability_and_without_a_filter() {
        let status = |capabilities: &str, mode: &str| {
            format!("Name:\ta\nCapEff:\t{capabilities}\nSeccomp:\t{mode}\n")
        };
        assert!(is_mighty(&status("000001ffffffffff", "0")));
        assert!(!is_mighty(&status("000001ffffdfffff", "0")));
        assert!(!is_mighty(&status("000001ffffffffff", "2")));
        assert!(!is_mighty("Name:\ta\n") && !is_mighty(""));
        assert!(is_mighty("CapEff:\t200000\n"), "a kernel without filters");
    }

    #[test]
    fn a_peer_is_known_by_its_user_and_its_unit() {
        let (ours, _theirs) = sys::clone::pair(3).unwrap();
        let own = std::process::id() as i32;
        let peer = Peer::of(&ours, |pid| (pid == own).then(|| "a.service".into())).unwrap();
        let uid = rustix::process::geteuid();
        assert_eq!(peer.uid, uid.as_raw());
        let unit = uid.is_root().then(|| "a.service".to_string());
        // A kernel before 6.5 does not tell of the process itself.
        assert!(peer.unit == unit || sys::message::peer(ours.as_fd()).is_err());
    }
}
