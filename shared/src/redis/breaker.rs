//! When to stop asking a server that fails: pure, with the time passed in.
//!
//! What Redis keeps is optional, so that nobody should wait for its time limit when many before did so in vain.

use std::time::{Duration, Instant};

/// Failures in a row after which the server is left alone.
const FAILURES_MAX: u32 = 5;
/// How long it is left alone between two probes.
const REST: Duration = Duration::from_secs(1);

/// Counts failures and says whether to ask.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    resting_until: Option<Instant>,
}

impl Breaker {
    /// Says whether to ask now. While the server rests, one caller each second may, as a probe.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match self.resting_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                // Even if this probe's answer is never recorded, the next one comes in time.
                self.resting_until = Some(now + REST);
                true
            }
        }
    }

    /// The server answered.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The server did not answer, or refused.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            self.resting_until = Some(now + REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_after_failures_in_a_row_and_probes_once_a_second() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            breaker.failed(start);
        }
        breaker.succeeded();
        for _ in 0..FAILURES_MAX {
            assert!(breaker.admits(start), "a success begins the count anew");
            breaker.failed(start);
        }
        assert!(!breaker.admits(start + REST / 2));
        assert!(breaker.admits(start + REST), "the probe");
        assert!(!breaker.admits(start + REST), "one probe only");
        assert!(breaker.admits(start + 2 * REST), "a probe without an answer does not stop the next");
        breaker.failed(start + 2 * REST);
        assert!(!breaker.admits(start + 2 * REST + REST / 2));
        breaker.succeeded();
        assert!(breaker.admits(start + 2 * REST + REST / 2));
    }
}
