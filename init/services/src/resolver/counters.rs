//! How many questions came, and what became of them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What became of the questions since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// All messages of clients.
    pub questions: Counter,
    /// Refused, or not to be understood.
    pub refused: Counter,
    /// Answered by the node itself.
    pub own: Counter,
    /// Answered by what was kept.
    pub kept: Counter,
    /// Answered by what was kept beyond its end of life.
    pub stale: Counter,
    /// Failed.
    pub failed: Counter,
    /// Asked of upstreams; many questions may wait for one.
    pub asked: Counter,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} questions, {} refused, {} own, {} from the cache, {} stale, {} failed; {} asked upstream",
            self.questions.get(),
            self.refused.get(),
            self.own.get(),
            self.kept.get(),
            self.stale.get(),
            self.failed.get(),
            self.asked.get()
        )
    }
}
