//! How often is too often: corrections that somebody undoes again and again, and looks at links that do not come to
//! rest. Time is given, CLOCK_BOOTTIME.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Corrections of one thing before the next has to wait.
const FREE: u32 = 5;
/// The first wait, doubled each time, and the longest.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_LAST: Duration = Duration::from_secs(60);
/// After so long without a correction all is forgotten.
const QUIET: Duration = Duration::from_secs(300);
/// Most things that are remembered.
const KEPT: usize = 1024;

/// Whether a correction is done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is.
    Go,
    /// It is, and from now on the next of its kind waits so long.
    LastFor(Duration),
    /// It has to wait for so long.
    Wait(Duration),
}

/// The corrections so far, by what is corrected.
#[derive(Debug, Default)]
pub(crate) struct Corrections {
    known: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    times: u32,
    last: Duration,
    until: Duration,
}

impl Corrections {
    /// Whether the correction with this name may be done at `now`; counts it if so.
    pub(crate) fn ask(&mut self, name: &str, now: Duration) -> Answer {
        self.known
            .retain(|_, known| now.saturating_sub(known.last) < QUIET);
        if self.known.len() >= KEPT && !self.known.contains_key(name) {
            // Nobody has so many links: whoever makes them is slowed down as one.
            return self.ask_known("", now);
        }
        self.ask_known(name, now)
    }

    fn ask_known(&mut self, name: &str, now: Duration) -> Answer {
        let known = self.known.entry(name.to_owned()).or_insert(Known {
            times: 0,
            last: now,
            until: Duration::ZERO,
        });
        if now < known.until {
            return Answer::Wait(known.until - now);
        }
        known.times = known.times.saturating_add(1);
        known.last = now;
        let Some(over) = known.times.checked_sub(FREE) else {
            return Answer::Go;
        };
        let wait = WAIT_FIRST.saturating_mul(1 << over.min(16)).min(WAIT_LAST);
        known.until = now + wait;
        Answer::LastFor(wait)
    }

    /// The shortest wait of all that have to.
    pub(crate) fn next(&self, now: Duration) -> Option<Duration> {
        let waits = self.known.values().map(|known| known.until);
        waits
            .filter(|until| *until > now)
            .map(|until| until - now)
            .min()
    }
}

/// Looks within this are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// So many of them are as quick as they come.
const QUICK: usize = 50;
/// A change is looked at after this, so that a burst of changes leads to one look.
const SETTLE: Duration = Duration::from_millis(20);
/// The same where changes never end.
const SETTLE_SLOW: Duration = Duration::from_secs(1);

/// How soon to look after a change.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    looks: VecDeque<Duration>,
}

impl Pace {
    /// A look is taken at `now`.
    pub(crate) fn looked(&mut self, now: Duration) {
        self.looks.push_back(now);
        while self.looks.len() > QUICK {
            self.looks.pop_front();
        }
    }

    /// How long after a change at `now` to look.
    pub(crate) fn settle(&self, now: Duration) -> Duration {
        let oldest = self.looks.front().filter(|_| self.looks.len() >= QUICK);
        let busy = oldest.is_some_and(|oldest| now.saturating_sub(*oldest) < WINDOW);
        if busy { SETTLE_SLOW } else { SETTLE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_corrections_are_free_and_later_ones_wait_longer_and_longer() {
        let mut corrections = Corrections::default();
        let mut now = seconds(100);
        for _ in 0..4 {
            assert_eq!(corrections.ask("eth0: up", now), Answer::Go);
        }
        let mut waits = Vec::new();
        for _ in 0..9 {
            let Answer::LastFor(wait) = corrections.ask("eth0: up", now) else {
                panic!("it may go");
            };
            assert_eq!(corrections.ask("eth0: up", now), Answer::Wait(wait));
            assert_eq!(corrections.next(now), Some(wait));
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(corrections.ask("eth1: up", now), Answer::Go);
        assert_eq!(corrections.ask("eth0: up", now + QUIET), Answer::Go);
    }

    #[test]
    fn an_hour_of_somebody_who_fights_us_costs_few_corrections() {
        let mut corrections = Corrections::default();
        let tenths = (0..36_000).map(|tenth| Duration::from_millis(tenth * 100));
        let done = tenths
            .filter(|now| !matches!(corrections.ask("x", *now), Answer::Wait(_)))
            .count();
        assert!((60..80).contains(&done), "{done}");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut corrections = Corrections::default();
        let now = seconds(1);
        let waits = (0..100_000)
            .filter(|number| matches!(corrections.ask(&number.to_string(), now), Answer::Wait(_)))
            .count();
        assert!(corrections.known.len() <= KEPT + 1);
        assert!(waits > 90_000);
    }

    #[test]
    fn looks_slow_down_while_changes_do_not_end() {
        let mut pace = Pace::default();
        assert_eq!(pace.settle(seconds(1)), SETTLE);
        (0..100).for_each(|_| pace.looked(seconds(5)));
        assert_eq!(pace.settle(seconds(6)), SETTLE_SLOW);
        assert_eq!(pace.settle(seconds(15)), SETTLE);
        assert!(pace.looks.len() <= QUICK);
    }
}
