//! Which upstream is asked first: the config's order, those that did not answer of late behind the others. Pure: time
//! comes in as an argument.

use std::time::{Duration, Instant};

/// How long an upstream stands behind the others after a first failure; each in a row doubles it, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(2);
/// Longest that it stands behind: as soon as that is over, a question tries it again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How an upstream did of late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// Failures in a row.
    failures: u32,
    /// Until when it stands behind.
    until: Option<Instant>,
}

impl Health {
    /// It answered. Whether that is news.
    pub(crate) fn answered(&mut self) -> bool {
        let news = self.failures > 0;
        *self = Self::default();
        news
    }

    /// It did not. Whether that is news.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        let pause = PAUSE * 2u32.pow(self.failures.min(5));
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + pause.min(PAUSE_MAX));
        self.failures == 1
    }

    fn is_behind(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// The order in which to ask: indices, each once.
pub(crate) fn order(all: &[Health], now: Instant) -> Vec<usize> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|index| all.get(*index).is_some_and(|health| health.is_behind(now)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_stands_behind_for_a_while_and_longer_each_time() {
        let now = Instant::now();
        let mut all = [Health::default(); 3];
        assert_eq!(order(&all, now), [0, 1, 2]);
        assert!(all[0].failed(now), "news");
        assert_eq!(order(&all, now), [1, 2, 0]);
        assert_eq!(order(&all, now + PAUSE), [0, 1, 2]);
        assert!(!all[0].failed(now), "no news");
        assert_eq!(order(&all, now + PAUSE), [1, 2, 0]);
        for _ in 0..100 {
            all[0].failed(now);
        }
        assert_eq!(order(&all, now + PAUSE_MAX), [0, 1, 2]);
    }

    #[test]
    fn who_answers_is_back_at_once_and_all_failing_keep_their_order() {
        let now = Instant::now();
        let mut all = [Health::default(); 2];
        all.iter_mut().for_each(|health| {
            health.failed(now);
        });
        assert_eq!(order(&all, now), [0, 1]);
        assert!(all[1].answered(), "news");
        assert!(!all[1].answered(), "no news");
        assert_eq!(order(&all, now), [1, 0]);
    }
}
