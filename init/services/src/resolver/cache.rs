//! What was answered before: bounded in answers and in bytes, the least used one goes first. Pure: time comes in as an
//! argument.
//!
//! An answer is kept whole and under its question alone: what an upstream adds about other names is never found by them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::wire::{Answer, Name};

/// How long beyond its end of life an answer is kept, for when nobody answers (RFC 8767, section 5, which has days; a
/// node that was cut off so long should hear that it is).
pub(crate) const STALE: Duration = Duration::from_secs(600);
/// How long a first failure is kept; each in a row doubles it, up to [`FAILURE_MAX`] (RFC 9520, section 3.2).
const FAILURE: Duration = Duration::from_secs(1);
/// Longest that a failure is kept.
const FAILURE_MAX: Duration = Duration::from_secs(30);
/// Most bytes of all answers.
const BYTES_MAX: usize = 8 << 20;
/// What an answer takes beside its bytes, about.
const OVERHEAD: usize = 256;
/// How many failures are kept where no answers are; no config has fewer answers than that, but for none.
const FAILURES_MIN: usize = 256;

/// What an answer is found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// About whom.
    pub name: Name,
    /// Record type.
    pub rtype: u16,
    /// DNSSEC's records are wanted.
    pub dnssec_ok: bool,
    /// Signatures that do not hold are no failure.
    pub checking_disabled: bool,
}

/// What is there for a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// An answer, so many seconds old.
    Fresh(Arc<Answer>, u32),
    /// One beyond its end of life, and whether asking anew failed a moment ago.
    Stale(Arc<Answer>, bool),
    /// Asking failed a moment ago, and there is no answer from before.
    Failed,
    /// Nothing.
    Nothing,
}

/// Answers and failures by their questions.
#[derive(Debug)]
pub(crate) struct Cache {
    entries_max: usize,
    bytes_max: usize,
    entries: HashMap<Arc<Key>, Entry>,
    /// Keys by when they were used.
    used: BTreeMap<u64, Arc<Key>>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// None of a question that only ever failed.
    answer: Option<Stored>,
    /// Until when asking anew is of no use, and how long that was.
    failed: Option<(Instant, Duration)>,
    used: u64,
}

#[derive(Debug)]
struct Stored {
    answer: Arc<Answer>,
    since: Instant,
    until: Instant,
}

impl Cache {
    /// One of at most so many answers.
    pub(crate) fn new(entries_max: usize) -> Self {
        Self::bounded(entries_max, BYTES_MAX)
    }

    fn bounded(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            entries_max,
            bytes_max,
            entries: HashMap::new(),
            used: BTreeMap::new(),
            uses: 0,
            bytes: 0,
        }
    }

    /// How many answers and failures there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Looks a question up.
    pub(crate) fn find(&mut self, key: &Key, now: Instant) -> Found {
        let uses = self.next_use();
        let Some((own, entry)) = self.entries.get_key_value(key) else {
            return Found::Nothing;
        };
        let (own, before) = (own.clone(), entry.used);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.used = uses;
        }
        self.used.remove(&before);
        self.used.insert(uses, own);
        let found = self.entries.get(key).map(|entry| entry.found(now));
        found.unwrap_or(Found::Nothing)
    }

    /// Keeps an answer for as long as it says.
    pub(crate) fn keep(&mut self, key: Key, answer: Arc<Answer>, now: Instant) {
        let seconds = answer.lifetime.unwrap_or(0);
        self.remove(&key);
        if seconds == 0 || self.entries_max == 0 {
            return;
        }
        let stored = Stored {
            answer,
            since: now,
            until: now + Duration::from_secs(u64::from(seconds)),
        };
        self.insert(key, Some(stored), None);
    }

    /// Keeps that asking failed.
    pub(crate) fn fail(&mut self, key: Key, now: Instant) {
        let before = self.remove(&key);
        let (answer, failed) = before.map_or((None, None), |entry| (entry.answer, entry.failed));
        let answer = answer.filter(|stored| now < stored.until + STALE);
        let longer = failed.map_or(FAILURE, |(until, length)| {
            // One that is long over begins anew.
            if now < until + length {
                (length * 2).min(FAILURE_MAX)
            } else {
                FAILURE
            }
        });
        self.insert(key, answer, Some((now + longer, longer)));
    }

    fn insert(&mut self, key: Key, answer: Option<Stored>, failed: Option<(Instant, Duration)>) {
        let used = self.next_use();
        let key = Arc::new(key);
        let entry = Entry {
            answer,
            failed,
            used,
        };
        self.bytes += size(&key, &entry);
        self.used.insert(used, key.clone());
        self.entries.insert(key, entry);
        let most = self.entries_max.max(FAILURES_MIN);
        while self.entries.len() > most || self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.used.pop_first() else {
                break;
            };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.used.remove(&entry.used);
        self.bytes = self.bytes.saturating_sub(size(key, &entry));
        Some(entry)
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }
}

impl Entry {
    fn found(&self, now: Instant) -> Found {
        let failed = self.failed.is_some_and(|(until, _)| now < until);
        match &self.answer {
            Some(stored) if now < stored.until => {
                let age = now.saturating_duration_since(stored.since).as_secs();
                Found::Fresh(
                    stored.answer.clone(),
                    u32::try_from(age).unwrap_or(u32::MAX),
                )
            }
            Some(stored) if now < stored.until + STALE => {
                Found::Stale(stored.answer.clone(), failed)
            }
            _ if failed => Found::Failed,
            _ => Found::Nothing,
        }
    }
}

fn size(key: &Key, entry: &Entry) -> usize {
    let answer = entry
        .answer
        .as_ref()
        .map_or(0, |stored| stored.answer.bytes());
    OVERHEAD + key.name.wire().len() + answer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> Key {
        Key {
            name: Name::of_text(name).unwrap(),
            rtype: 1,
            dnssec_ok: false,
            checking_disabled: false,
        }
    }

    fn answer(lifetime: u32, bytes: usize) -> Arc<Answer> {
        Arc::new(Answer {
            message: vec![0; bytes].into(),
            ttls: [].into(),
            rcode: 0,
            lifetime: Some(lifetime),
        })
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_lives_as_long_as_it_says_and_is_stale_a_while() {
        let (mut cache, start) = (Cache::new(8), Instant::now());
        let kept = answer(60, 100);
        cache.keep(key("a.example"), kept.clone(), start);
        let at = |cache: &mut Cache, seconds| cache.find(&key("a.example"), after(start, seconds));
        assert_eq!(at(&mut cache, 0), Found::Fresh(kept.clone(), 0));
        assert_eq!(at(&mut cache, 59), Found::Fresh(kept.clone(), 59));
        assert_eq!(at(&mut cache, 60), Found::Stale(kept.clone(), false));
        assert_eq!(at(&mut cache, 659), Found::Stale(kept, false));
        assert_eq!(at(&mut cache, 660), Found::Nothing);
        assert_eq!(cache.find(&key("b.example"), start), Found::Nothing);
    }

    #[test]
    fn other_types_and_wishes_are_other_questions() {
        let (mut cache, start) = (Cache::new(8), Instant::now());
        cache.keep(key("a.example"), answer(60, 100), start);
        for other in [
            Key {
                rtype: 28,
                ..key("a.example")
            },
            Key {
                dnssec_ok: true,
                ..key("a.example")
            },
            Key {
                checking_disabled: true,
                ..key("a.example")
            },
        ] {
            assert_eq!(cache.find(&other, start), Found::Nothing, "{other:?}");
        }
    }

    #[test]
    fn what_says_nothing_of_its_life_or_has_none_is_not_kept() {
        let (mut cache, start) = (Cache::new(8), Instant::now());
        cache.keep(key("a.example"), answer(60, 100), start);
        cache.keep(key("a.example"), answer(0, 100), start);
        assert_eq!(cache.find(&key("a.example"), start), Found::Nothing);
        let silent = Answer {
            lifetime: None,
            ..(*answer(0, 10)).clone()
        };
        cache.keep(key("a.example"), Arc::new(silent), start);
        assert_eq!((cache.len(), cache.bytes), (0, 0));
    }

    #[test]
    fn failures_are_kept_longer_and_longer() {
        let (mut cache, start) = (Cache::new(8), Instant::now());
        let mut now = start;
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            cache.fail(key("a.example"), now);
            let almost = after(now, seconds) - Duration::from_millis(1);
            assert_eq!(cache.find(&key("a.example"), almost), Found::Failed);
            now = after(now, seconds);
            assert_eq!(cache.find(&key("a.example"), now), Found::Nothing);
        }
        let later = after(now, 31);
        cache.fail(key("a.example"), later);
        assert_eq!(
            cache.find(&key("a.example"), after(later, 1)),
            Found::Nothing
        );
        cache.keep(key("a.example"), answer(60, 1), later);
        assert!(matches!(
            cache.find(&key("a.example"), later),
            Found::Fresh(..)
        ));
    }

    #[test]
    fn a_failure_leaves_the_answer_from_before() {
        let (mut cache, start) = (Cache::new(8), Instant::now());
        let kept = answer(60, 100);
        cache.keep(key("a.example"), kept.clone(), start);
        cache.fail(key("a.example"), after(start, 70));
        let found = cache.find(&key("a.example"), after(start, 70));
        assert_eq!(found, Found::Stale(kept.clone(), true));
        let found = cache.find(&key("a.example"), after(start, 72));
        assert_eq!(found, Found::Stale(kept, false));
    }

    #[test]
    fn the_least_used_answer_goes_first() {
        let (mut cache, start) = (Cache::new(FAILURES_MIN), Instant::now());
        for number in 0..FAILURES_MIN {
            cache.keep(key(&format!("{number}.example")), answer(60, 100), start);
        }
        assert!(matches!(
            cache.find(&key("0.example"), start),
            Found::Fresh(..)
        ));
        cache.keep(key("new.example"), answer(60, 100), start);
        assert_eq!(cache.len(), FAILURES_MIN);
        assert_eq!(cache.find(&key("1.example"), start), Found::Nothing);
        assert!(matches!(
            cache.find(&key("0.example"), start),
            Found::Fresh(..)
        ));
    }

    #[test]
    fn a_cache_of_nothing_keeps_failures_only() {
        let (mut cache, start) = (Cache::new(0), Instant::now());
        cache.keep(key("a.example"), answer(60, 100), start);
        assert_eq!(cache.find(&key("a.example"), start), Found::Nothing);
        cache.fail(key("a.example"), start);
        assert_eq!(cache.find(&key("a.example"), start), Found::Failed);
    }

    proptest! {
        #[test]
        fn bounds_and_books_hold_whatever_is_kept(
            steps in proptest::collection::vec((0u16..600, 0u32..100, 0usize..4000, any::<bool>()), 0..900),
        ) {
            let mut cache = Cache::bounded(300, 200_000);
            let mut now = Instant::now();
            for (number, lifetime, bytes, fails) in steps {
                now += Duration::from_millis(u64::from(lifetime) * 10);
                let key = key(&format!("{number}.example"));
                if fails {
                    cache.fail(key, now);
                } else {
                    cache.keep(key.clone(), answer(lifetime, bytes), now);
                    let fresh = matches!(cache.find(&key, now), Found::Fresh(..));
                    prop_assert_eq!(fresh, lifetime > 0);
                }
                let held: usize = cache.entries.iter().map(|(key, entry)| size(key, entry)).sum();
                prop_assert_eq!(cache.bytes, held);
                prop_assert_eq!(cache.used.len(), cache.entries.len());
                prop_assert!(cache.len() <= 300 && cache.bytes <= 200_000);
            }
        }
    }
}
