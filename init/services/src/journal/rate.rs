//! A limit of entries per unit and interval, so that one unit cannot push the others out of the store.
//!
//! Over the limit entries are dropped and counted; the count becomes one entry when the next interval begins.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Entries a unit may write in one interval.
const BURST: u32 = 10_000;
/// The interval.
const INTERVAL: Duration = Duration::from_secs(30);
/// Units that are counted; beyond, the table starts anew.
const UNITS_MAX: usize = 1024;

struct Window {
    began: Instant,
    passed: u32,
    suppressed: u64,
}

/// The counters of all units.
#[derive(Default)]
pub(crate) struct RateLimit {
    units: HashMap<String, Window>,
}

/// What to do with an entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Keep it.
    Keep,
    /// Keep it, and say first that so many were suppressed.
    KeepAfter(u64),
    /// Drop it.
    Suppress,
}

impl RateLimit {
    /// Counts an entry of this unit.
    pub(crate) fn check(&mut self, unit: &str, now: Instant) -> Verdict {
        if self.units.len() >= UNITS_MAX && !self.units.contains_key(unit) {
            self.units.clear();
        }
        if let Some(window) = self.units.get_mut(unit) {
            return window.check(now);
        }
        self.units.insert(
            unit.to_string(),
            Window {
                began: now,
                passed: 1,
                suppressed: 0,
            },
        );
        Verdict::Keep
    }

    /// The units whose interval is over and who were suppressed in it, with how often.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<(String, u64)> {
        let over = |window: &Window| now.duration_since(window.began) >= INTERVAL;
        let report = self
            .units
            .iter()
            .filter(|(_, window)| over(window) && window.suppressed > 0)
            .map(|(unit, window)| (unit.clone(), window.suppressed))
            .collect();
        self.units.retain(|_, window| !over(window));
        report
    }
}

impl Window {
    fn check(&mut self, now: Instant) -> Verdict {
        if now.duration_since(self.began) >= INTERVAL {
            let suppressed = self.suppressed;
            *self = Self {
                began: now,
                passed: 1,
                suppressed: 0,
            };
            return if suppressed > 0 {
                Verdict::KeepAfter(suppressed)
            } else {
                Verdict::Keep
            };
        }
        if self.passed >= BURST {
            self.suppressed += 1;
            return Verdict::Suppress;
        }
        self.passed += 1;
        Verdict::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted_and_others_are_not_touched() {
        let mut limit = RateLimit::default();
        let start = Instant::now();
        for _ in 0..BURST {
            assert_eq!(limit.check("loud.service", start), Verdict::Keep);
        }
        for _ in 0..5 {
            assert_eq!(limit.check("loud.service", start), Verdict::Suppress);
        }
        assert_eq!(limit.check("quiet.service", start), Verdict::Keep);
        assert_eq!(
            limit.check("loud.service", start + INTERVAL),
            Verdict::KeepAfter(5)
        );
    }

    #[test]
    fn what_was_suppressed_is_told_even_when_the_flood_ends() {
        let mut limit = RateLimit::default();
        let start = Instant::now();
        for _ in 0..=BURST {
            limit.check("loud.service", start);
        }
        assert!(limit.expired(start).is_empty());
        assert_eq!(
            limit.expired(start + INTERVAL),
            [("loud.service".to_string(), 1)]
        );
        assert!(limit.expired(start + INTERVAL).is_empty());
    }

    #[test]
    fn the_table_is_bounded() {
        let mut limit = RateLimit::default();
        let now = Instant::now();
        for number in 0..UNITS_MAX * 3 {
            limit.check(&format!("{number}.service"), now);
        }
        assert!(limit.units.len() <= UNITS_MAX);
    }
}
