//! How slowly a body may come.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::IngestError;
use crate::receive::DoorLimits;

/// Time in which a body need not have begun: a round trip or two, and the door's own delays.
const GRACE: Duration = Duration::from_secs(2);

/// Holds one body to `ingest.body_timeout` and `ingest.body_rate_min`.
///
/// After the grace it must at every moment have come as far as the rate would have brought it. What has come says when
/// that ends, so that a body which stands still is noticed too.
#[derive(Debug)]
pub(crate) struct BodyPace {
    started: Instant,
    timeout: Duration,
    rate_min: usize,
}

impl BodyPace {
    /// The pace of a body that begins now.
    pub(crate) fn start(limits: &DoorLimits) -> Self {
        Self { started: Instant::now(), timeout: limits.body_timeout, rate_min: limits.body_rate_min }
    }

    /// Waits for `next` of a body of which `received` bytes have come.
    ///
    /// # Errors
    /// If that would make it too slow.
    pub(crate) async fn keep<T>(&self, received: usize, next: impl Future<Output = T>) -> Result<T, IngestError> {
        let (within, error) = self.patience(received);
        tokio::time::timeout_at(self.started + within, next).await.map_err(|_| error)
    }

    /// How long after its start a body of which no more than `received` has come is given up, and with what.
    fn patience(&self, received: usize) -> (Duration, IngestError) {
        // To the millisecond: no rate is that exact, and whole numbers do not overflow.
        let earned = (received as u64).saturating_mul(1_000) / self.rate_min as u64;
        let slow = GRACE.saturating_add(Duration::from_millis(earned));
        if slow < self.timeout {
            (slow, IngestError::BodyTooSlow { rate_min: self.rate_min })
        } else {
            (self.timeout, IngestError::BodyTimeout { within: self.timeout })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(rate_min: usize, timeout: Duration) -> BodyPace {
        BodyPace { started: Instant::now(), timeout, rate_min }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_given_up_when_it_falls_behind() {
        let pace = pace(1_000, 10 * SECOND);
        let given_up = async |received: usize| {
            let waited = pace.keep(received, pending::<()>()).await;
            (pace.started.elapsed().as_secs(), waited.expect_err("it never comes"))
        };
        assert!(matches!(given_up(0).await, (2, IngestError::BodyTooSlow { .. })));
        assert!(matches!(given_up(3_000).await, (5, IngestError::BodyTooSlow { .. })));
        assert!(matches!(given_up(7_999).await, (9, IngestError::BodyTooSlow { .. })));
        assert!(matches!(given_up(8_000).await, (10, IngestError::BodyTimeout { .. })));
        assert!(matches!(given_up(usize::MAX).await, (10, IngestError::BodyTimeout { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_keeps_up_is_read_whole() {
        let pace = pace(1_000, 60 * SECOND);
        for chunk in 0..50 {
            let next = tokio::time::sleep(SECOND);
            assert!(pace.keep(chunk * 1_000, next).await.is_ok(), "chunk {chunk}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_timeout_counts() {
        let (within, error) = pace(1, SECOND).patience(0);
        assert!(within == SECOND && matches!(error, IngestError::BodyTimeout { .. }));
    }
}
