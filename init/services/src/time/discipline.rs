//! What is done to the clock: set once, then only made faster or slower, so that time does not jump under programs that
//! run.

use std::time::Duration;

use super::choice::Choice;

/// What a clock may be off at the beginning without being set (RFC 5905: STEPT).
const STEP: Duration = Duration::from_millis(128);
/// The most that the kernel takes as an offset to work off (adjtimex(2)).
const MAX_SLEW: Duration = Duration::from_millis(500);
/// Beyond this, somebody is wrong, and a running node does not guess who.
const PANIC: Duration = Duration::from_secs(1000);

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Set the clock by so many nanoseconds.
    Step(i64),
    /// Have the kernel work so many nanoseconds off.
    Slew(i64),
    /// Say that the clock cannot be right, and leave it.
    TooFar(i64),
}

/// What has been done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Discipline {
    synchronised: bool,
}

impl Discipline {
    /// Whether the clock has agreed with the servers since boot, or since this service's first start.
    pub(crate) fn is_synchronised(self) -> bool {
        self.synchronised
    }

    /// One that goes on after a restart of the service: the clock has been set before.
    pub(crate) fn resumed() -> Self {
        Self { synchronised: true }
    }

    /// The clock has been set, or was right: from now on it is only slewed.
    pub(crate) fn done(&mut self) {
        self.synchronised = true;
    }

    /// Decides.
    pub(crate) fn decide(self, choice: &Choice) -> Action {
        let offset = choice.offset_ns;
        let off = Duration::from_nanos(offset.unsigned_abs());
        if !self.synchronised && off > STEP {
            return Action::Step(offset);
        }
        if off > PANIC {
            return Action::TooFar(offset);
        }
        let most = i64::try_from(MAX_SLEW.as_nanos()).unwrap_or(i64::MAX);
        Action::Slew(offset.clamp(-most, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(offset_ns: i64) -> Choice {
        Choice {
            offset_ns,
            error: Duration::from_millis(1),
            agreed: 1,
            at: Duration::ZERO,
        }
    }

    #[test]
    fn it_is_set_at_the_beginning_and_never_again() {
        let year = 31_536_000 * 1_000_000_000;
        let mut discipline = Discipline::default();
        assert!(!discipline.is_synchronised());
        assert_eq!(discipline.decide(&choice(-year)), Action::Step(-year));
        assert_eq!(discipline.decide(&choice(year)), Action::Step(year));
        discipline.done();
        assert!(discipline.is_synchronised());
        assert_eq!(
            discipline.decide(&choice(300_000_000)),
            Action::Slew(300_000_000)
        );
        assert_eq!(
            discipline.decide(&choice(5_000_000_000)),
            Action::Slew(500_000_000)
        );
        assert_eq!(discipline.decide(&choice(year)), Action::TooFar(year));
    }

    #[test]
    fn one_that_is_nearly_right_is_not_set_at_all() {
        let discipline = Discipline::default();
        assert_eq!(
            discipline.decide(&choice(-100_000_000)),
            Action::Slew(-100_000_000)
        );
    }

    #[test]
    fn after_a_restart_of_the_service_it_is_not_set_again() {
        let discipline = Discipline::resumed();
        assert_eq!(
            discipline.decide(&choice(2_000_000_000)),
            Action::Slew(500_000_000)
        );
    }
}
