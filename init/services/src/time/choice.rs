//! Which servers to believe: those whose intervals have a point in common with most others (RFC 5905, section 11.2.1,
//! after Marzullo). One that lies is outvoted where there are three or more.

use std::time::Duration;

use super::source::Sample;

/// What the servers that agree say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Their clock less ours, nanoseconds.
    pub(crate) offset_ns: i64,
    /// How far from the truth that may be.
    pub(crate) error: Duration,
    /// How many agree.
    pub(crate) agreed: usize,
    /// When the sample was taken that says so, on CLOCK_BOOTTIME.
    pub(crate) at: Duration,
}

/// A sample that may be further from the truth than this says nothing (RFC 5905: MAXDIST).
const MAX_ERROR: Duration = Duration::from_millis(1500);

/// Where the truth may be, by one sample.
#[derive(Clone, Copy)]
struct Interval<'a> {
    low: i128,
    high: i128,
    sample: &'a Sample,
}

impl<'a> Interval<'a> {
    fn of(sample: &'a Sample, now: Duration) -> Self {
        let error = i128::try_from(sample.error(now).as_nanos()).unwrap_or(i128::MAX / 4);
        let offset = i128::from(sample.offset_ns);
        Self {
            low: offset - error,
            high: offset + error,
            sample,
        }
    }
}

/// Those who agree on a point.
struct Party<'a> {
    members: Vec<Interval<'a>>,
}

impl<'a> Party<'a> {
    fn of(point: i128, all: &[Interval<'a>]) -> Self {
        let holds = |interval: &&Interval| interval.low <= point && point <= interval.high;
        Self {
            members: all.iter().filter(holds).copied().collect(),
        }
    }

    /// What all of them take for possible.
    fn common(&self) -> (i128, i128) {
        let low = self.members.iter().map(|interval| interval.low).max();
        let high = self.members.iter().map(|interval| interval.high).min();
        (low.unwrap_or(0), high.unwrap_or(0))
    }

    fn contradicts(&self, other: &Self) -> bool {
        let ((low, high), (other_low, other_high)) = (self.common(), other.common());
        high < other_low || other_high < low
    }
}

/// The choice among the best samples of all servers that answer; `None` where there is no majority, or two that
/// contradict each other.
pub(crate) fn choose(samples: &[Sample], now: Duration) -> Option<Choice> {
    let useful = samples
        .iter()
        .filter(|sample| sample.error(now) <= MAX_ERROR);
    let intervals: Vec<Interval> = useful.map(|sample| Interval::of(sample, now)).collect();
    // A point that most intervals share is the lower end of one of them.
    let parties = intervals
        .iter()
        .map(|interval| Party::of(interval.low, &intervals));
    let parties: Vec<Party> = parties.collect();
    let agreed = parties.iter().map(|party| party.members.len()).max()?;
    let mut largest = parties.iter().filter(|party| party.members.len() == agreed);
    let party = largest.next()?;
    if agreed * 2 <= samples.len() || largest.any(|other| other.contradicts(party)) {
        return None;
    }
    let members = party.members.iter().map(|interval| interval.sample);
    let surest = members.min_by_key(|sample| sample.error(now))?;
    Some(Choice {
        offset_ns: surest.offset_ns,
        error: surest.error(now),
        agreed,
        at: surest.at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(offset_ms: i64, error_ms: u64) -> Sample {
        Sample {
            offset_ns: offset_ms * 1_000_000,
            delay: Duration::from_millis(error_ms * 2),
            distance: Duration::ZERO,
            at: Duration::ZERO,
        }
    }

    fn chosen(samples: &[Sample]) -> Option<(i64, usize)> {
        let choice = choose(samples, Duration::ZERO)?;
        Some((choice.offset_ns / 1_000_000, choice.agreed))
    }

    #[test]
    fn one_server_is_believed() {
        assert_eq!(chosen(&[sample(7, 2)]), Some((7, 1)));
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn the_surest_of_those_that_agree_is_taken() {
        let all = [sample(10, 9), sample(12, 1), sample(14, 5)];
        assert_eq!(chosen(&all), Some((12, 3)));
    }

    #[test]
    fn one_that_lies_is_outvoted() {
        let all = [sample(10, 5), sample(500_000, 1), sample(12, 5)];
        assert_eq!(chosen(&all), Some((10, 2)));
    }

    #[test]
    fn one_that_knows_little_makes_no_liar_right() {
        let vague = sample(5_000, 16_000);
        assert_eq!(chosen(&[sample(0, 1), sample(10_000, 1), vague]), None);
        let near = sample(500, 1_000);
        assert_eq!(chosen(&[sample(0, 1), sample(1_000, 1), near]), None);
        assert_eq!(chosen(&[vague]), None);
    }

    #[test]
    fn two_that_contradict_each_other_decide_nothing() {
        assert_eq!(chosen(&[sample(0, 1), sample(1000, 1)]), None);
    }
}
