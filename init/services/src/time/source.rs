//! One time server: its last samples, and how often to ask it.

use std::collections::VecDeque;
use std::time::Duration;

use super::packet::Reply;

/// Samples that are kept (RFC 5905: NSTAGE).
const SAMPLES: usize = 8;
/// Shortest and longest time between two requests.
const POLL: (Duration, Duration) = (Duration::from_secs(16), Duration::from_secs(1024));
/// Requests in a row at the beginning, so that a node has its time soon.
const BURST: u32 = 4;
/// Time between those.
const BURST_PAUSE: Duration = Duration::from_secs(2);
/// Requests without an answer after which nothing of a server is believed any more.
const UNREACHABLE: u32 = 8;
/// How much a clock may drift (RFC 5905: PHI), as a share of a million.
const DRIFT_PPM: u32 = 15;

/// What one exchange says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The server's clock less ours, nanoseconds.
    pub(crate) offset_ns: i64,
    /// There and back, without the time that the server took.
    pub(crate) delay: Duration,
    /// The server's distance from its source.
    pub(crate) distance: Duration,
    /// When, on CLOCK_BOOTTIME.
    pub(crate) at: Duration,
}

impl Sample {
    /// From when we sent and received, by our clock in nanoseconds, and what the server says. `None` where the offset is
    /// beyond what a clock can be set by, or our own clock was set meanwhile.
    pub(crate) fn of(
        sent_ns: i128,
        received_ns: i128,
        reply: &Reply,
        at: Duration,
    ) -> Option<Self> {
        let there = reply.received_ns - sent_ns;
        let back = reply.sent_ns - received_ns;
        let round = (received_ns - sent_ns) - (reply.sent_ns - reply.received_ns);
        // Clocks of different grain can make a short way look a little shorter than nothing.
        let delay = u64::try_from(round.max(0)).ok()?;
        if received_ns < sent_ns || round < -1_000_000 {
            return None;
        }
        Some(Self {
            offset_ns: i64::try_from((there + back) / 2).ok()?,
            delay: Duration::from_nanos(delay),
            distance: reply.distance,
            at,
        })
    }

    /// How far from the truth it may be by now (RFC 5905, section 10: root distance).
    pub(crate) fn error(&self, now: Duration) -> Duration {
        let age = now.saturating_sub(self.at);
        self.delay / 2 + self.distance + age / 1_000_000 * DRIFT_PPM
    }
}

/// A server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    samples: VecDeque<Sample>,
    asked: u32,
    unanswered: u32,
    /// It asked to be left alone.
    slowed: bool,
    poll: Option<Duration>,
}

impl Source {
    /// A request goes out.
    pub(crate) fn ask(&mut self) {
        self.asked = self.asked.saturating_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered >= UNREACHABLE {
            self.samples.clear();
        }
    }

    /// It answered.
    pub(crate) fn hear(&mut self, sample: Sample) {
        self.unanswered = 0;
        self.samples.push_front(sample);
        self.samples.truncate(SAMPLES);
        let longer = self.poll.map_or(POLL.0, |poll| (poll * 2).min(POLL.1));
        if self.asked > BURST {
            self.poll = Some(longer);
        }
    }

    /// It asked to be left alone (RATE, DENY, RSTR).
    pub(crate) fn slow_down(&mut self) {
        self.slowed = true;
        self.samples.clear();
    }

    /// Our clock was set: what was compared with it before says nothing any more.
    pub(crate) fn forget(&mut self) {
        self.samples.clear();
    }

    /// Time until the next request.
    pub(crate) fn pause(&self) -> Duration {
        if self.slowed {
            return POLL.1;
        }
        if self.asked < BURST {
            return BURST_PAUSE;
        }
        // Who does not answer is asked again soon at first, then as seldom as who does.
        let patience = POLL
            .0
            .saturating_mul(1 << self.unanswered.saturating_sub(1).min(6));
        if self.unanswered > 1 {
            return patience.min(POLL.1);
        }
        self.poll.unwrap_or(POLL.0)
    }

    /// Seconds between two requests, as the kernel's loop is set by: 2 to this power.
    pub(crate) fn poll_exponent(&self) -> u32 {
        self.poll.unwrap_or(POLL.0).as_secs().max(1).ilog2()
    }

    /// Whether nothing has come for long.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.unanswered >= UNREACHABLE || (self.unanswered >= BURST && self.samples.is_empty())
    }

    /// The sample to believe: the one with the shortest way (RFC 5905, section 10: the clock filter).
    pub(crate) fn best(&self, now: Duration) -> Option<Sample> {
        self.samples
            .iter()
            .copied()
            .min_by_key(|sample| sample.error(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;

    fn sample(offset_ns: i64, delay_ms: u64, at: u64) -> Sample {
        Sample {
            offset_ns,
            delay: Duration::from_millis(delay_ms),
            distance: Duration::ZERO,
            at: Duration::from_secs(at),
        }
    }

    fn reply(received_ns: i128, sent_ns: i128) -> Reply {
        Reply {
            received_ns,
            sent_ns,
            distance: Duration::from_millis(3),
            stratum: 2,
        }
    }

    #[test]
    fn the_offset_is_the_middle_of_both_ways() {
        // Ours is 100 s behind; 20 ms there, 20 ms back, 5 ms at the server.
        let read = reply(1100 * SECOND + 20_000_000, 1100 * SECOND + 25_000_000);
        let sample = Sample::of(
            1000 * SECOND,
            1000 * SECOND + 45_000_000,
            &read,
            Duration::ZERO,
        );
        let sample = sample.unwrap();
        assert_eq!(sample.offset_ns, 100 * 1_000_000_000);
        assert_eq!(sample.delay, Duration::from_millis(40));
    }

    #[test]
    fn an_exchange_over_which_our_clock_was_set_says_nothing() {
        let read = reply(1100 * SECOND, 1100 * SECOND);
        assert!(Sample::of(1000 * SECOND, 900 * SECOND, &read, Duration::ZERO).is_none());
        let slow_server = reply(1100 * SECOND, 1105 * SECOND);
        assert!(
            Sample::of(
                1000 * SECOND,
                1000 * SECOND + 1,
                &slow_server,
                Duration::ZERO
            )
            .is_none()
        );
        let far = reply(i128::MAX / 4, i128::MAX / 4);
        assert!(Sample::of(0, 1, &far, Duration::ZERO).is_none());
    }

    #[test]
    fn the_sample_with_the_shortest_way_is_believed() {
        let mut source = Source::default();
        for (offset, delay) in [(50, 30), (10, 4), (90, 200)] {
            source.ask();
            source.hear(sample(offset, delay, 1));
        }
        assert_eq!(source.best(Duration::from_secs(2)).unwrap().offset_ns, 10);
    }

    #[test]
    fn it_is_asked_often_at_first_then_seldom() {
        let mut source = Source::default();
        let mut pauses = Vec::new();
        for at in 0..14 {
            source.ask();
            source.hear(sample(0, 1, at));
            pauses.push(source.pause().as_secs());
        }
        assert_eq!(pauses[..3], [2, 2, 2]);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(pauses.last(), Some(&1024));
    }

    #[test]
    fn one_that_falls_silent_is_not_believed_for_ever() {
        let mut source = Source::default();
        source.ask();
        source.hear(sample(0, 1, 1));
        for _ in 0..UNREACHABLE {
            assert!(!source.is_unreachable());
            source.ask();
        }
        assert!(source.is_unreachable() && source.best(Duration::from_secs(9)).is_none());
        assert!(source.pause() <= POLL.1);
    }

    #[test]
    fn one_that_asks_to_be_left_alone_is() {
        let mut source = Source::default();
        source.ask();
        source.hear(sample(0, 1, 1));
        source.slow_down();
        assert_eq!(source.pause(), POLL.1);
        assert!(source.best(Duration::from_secs(1)).is_none());
    }
}
