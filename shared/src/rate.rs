//! How often something may happen: a token bucket kept as one moment, the [generic cell rate algorithm].
//!
//! Pure: the time is passed in. [`Pace`] is the rule, [`Bucket`] the rule with the state of whom it is applied to; a
//! table of many whom one rule is applied to keeps the states itself.
//!
//! [generic cell rate algorithm]: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::config::Rate;

/// A rate and a burst: with the refill that makes, in any stretch of the rate's time, at most the rate and the burst.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    interval: Duration,
    /// How far the moment of being full may lie ahead when one more is let through: burst - 1 intervals.
    tolerance: Duration,
}

impl Pace {
    /// The rule that `rate` is over time and `burst` at once.
    #[must_use]
    pub fn new(rate: Rate, burst: NonZeroU32) -> Self {
        // Rounded up: rounded down, the rate would be passed by a little.
        let nanos = rate.per.as_nanos().div_ceil(rate.count.get().into());
        let interval = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Self { interval, tolerance: interval.saturating_mul(burst.get() - 1) }
    }

    /// When, from `earliest` on, the one after `others` may come. `full_at` is when the bucket will be full again.
    #[must_use]
    pub fn start_behind(&self, full_at: Option<Instant>, others: u32, earliest: Instant) -> Instant {
        let full_at = full_at.map_or(earliest, |at| at.max(earliest)) + self.interval.saturating_mul(others);
        full_at.checked_sub(self.tolerance).map_or(earliest, |start| start.max(earliest))
    }

    /// When the bucket will be full again after one that comes at `start`.
    #[must_use]
    pub fn after(&self, full_at: Option<Instant>, start: Instant) -> Instant {
        full_at.map_or(start, |at| at.max(start)) + self.interval
    }

    /// Lets one through at `now`; one that is refused counts for nothing.
    ///
    /// # Errors
    /// The time until one may come.
    pub fn take(&self, full_at: &mut Option<Instant>, now: Instant) -> Result<(), Duration> {
        let wait = self.start_behind(*full_at, 0, now) - now;
        if !wait.is_zero() {
            return Err(wait);
        }
        *full_at = Some(self.after(*full_at, now));
        Ok(())
    }
}

/// A [`Pace`] for one.
#[derive(Debug)]
pub struct Bucket {
    pace: Pace,
    /// When it will be full again, if nothing more is taken.
    full_at: Option<Instant>,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn new(rate: Rate, burst: NonZeroU32) -> Self {
        Self { pace: Pace::new(rate, burst), full_at: None }
    }

    /// As [`Pace::start_behind`].
    #[must_use]
    pub fn start_behind(&self, others: u32, earliest: Instant) -> Instant {
        self.pace.start_behind(self.full_at, others, earliest)
    }

    /// Counts one that comes at `start`, whether it may or not.
    pub fn count(&mut self, start: Instant) {
        self.full_at = Some(self.pace.after(self.full_at, start));
    }

    /// As [`Pace::take`].
    ///
    /// # Errors
    /// The time until one may come.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.pace.take(&mut self.full_at, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(count: u32, per: Duration) -> Rate {
        Rate { count: NonZeroU32::new(count).expect("not zero"), per }
    }

    fn burst(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).expect("not zero")
    }

    #[test]
    fn the_interval_is_never_rounded_down() {
        for (count, per) in [(7, SECOND), (7, 86_400 * SECOND), (u32::MAX, SECOND)] {
            assert!(Pace::new(rate(count, per), burst(1)).interval * count >= per, "{count} in {per:?}");
        }
    }

    #[test]
    fn a_burst_may_come_at_once_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(10, SECOND), burst(5));
        let at_once = (0..100).filter(|_| bucket.take(start).is_ok()).count();
        assert_eq!(at_once, 5);
        assert_eq!(bucket.take(start), Err(SECOND / 10));
        let steps = (1..=1_000).filter(|step| bucket.take(start + *step * SECOND / 100).is_ok()).count();
        assert_eq!(steps, 100, "ten a second for ten seconds");
    }

    /// What was refused is let through after the time that it was told, and not before.
    #[test]
    fn the_wait_that_is_told_is_the_true_one() {
        let now = Instant::now();
        let mut bucket = Bucket::new(rate(1, 60 * SECOND), burst(1));
        assert_eq!(bucket.take(now), Ok(()));
        let wait = bucket.take(now + SECOND).expect_err("it is empty");
        assert_eq!(wait, 59 * SECOND);
        let almost = now + SECOND + wait - Duration::from_nanos(1);
        assert_eq!(bucket.take(almost), Err(Duration::from_nanos(1)));
        assert_eq!(bucket.take(now + SECOND + wait), Ok(()));
    }
}
