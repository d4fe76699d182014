//! How often a unit's words make PID 1 say something: the kernel log is everybody's, and a console is slow.

use std::collections::BTreeMap;

use spec_unit::graph::UnitId;

use super::Supervisor;
use crate::unit::supervise::Host as _;

/// Most complaints about a unit within [`WINDOW_US`].
const MOST: u32 = 10;
/// 30 s.
const WINDOW_US: u64 = 30_000_000;

#[derive(Debug)]
struct Window {
    began_us: u64,
    count: u32,
}

/// The complaints about each unit of late.
#[derive(Debug, Default)]
pub(super) struct Complaints(BTreeMap<UnitId, Window>);

impl Complaints {
    /// Whether one more may be said; the last of a window says that more are not.
    fn count(&mut self, id: UnitId, now_us: u64) -> u32 {
        let window = self.0.entry(id).or_insert(Window {
            began_us: now_us,
            count: 0,
        });
        if now_us.saturating_sub(window.began_us) >= WINDOW_US {
            (window.began_us, window.count) = (now_us, 0);
        }
        window.count = window.count.saturating_add(1);
        window.count
    }
}

impl Supervisor {
    /// Says what is wrong with what a unit's process has said.
    pub(super) fn complain(&mut self, id: UnitId, why: &str) {
        let count = self.complaints.count(id, self.host.now_us());
        let unit = self.name_of(id);
        match count {
            ..MOST => crate::warning!("{unit}: {why}"),
            MOST => crate::warning!("{unit}: {why}; for a while no more is said of the like"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_complained_about_so_often_and_then_again_later() {
        let mut complaints = Complaints::default();
        let counts: Vec<u32> = (0..3).map(|us| complaints.count(7, us)).collect();
        assert_eq!(counts, [1, 2, 3]);
        assert_eq!(complaints.count(8, 3), 1, "another unit");
        assert_eq!(complaints.count(7, WINDOW_US), 1, "the next window");
    }
}
