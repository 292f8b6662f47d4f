//! In flight: what was accepted for a handler and is not settled, and how long the oldest of it has waited.
//!
//! With `tidegate_accepted_total` of the door and `tidegate_settle_total` of the workers it makes an account that must
//! balance: what was accepted and replayed is applied, dead, unwanted, or in flight. See `deploy/alerts.yml`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tidegate_shared::ledger::Ledger;
use tidegate_shared::queue::{HandlerQueue, Queue};
use tokio_util::sync::CancellationToken;

/// Between two measurements.
const EVERY: Duration = Duration::from_secs(10);
/// A failed event is tried again after a day at the latest, or after the longest delay of its ladder, and a little.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 3_600);

/// The deliveries of one handler that this process holds, by the time at which the door received their events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held(Arc<Mutex<HeldNow>>);

#[derive(Debug, Default)]
struct HeldNow {
    next: u64,
    received: BTreeSet<(u64, u64)>,
}

/// One delivery among [`Held`], until it is dropped.
#[derive(Debug)]
pub(crate) struct HeldDelivery {
    held: Held,
    entry: (u64, u64),
}

impl Held {
    /// Adds a delivery whose event was received at `received_at`, in unix seconds.
    pub(crate) fn take(&self, received_at: u64) -> HeldDelivery {
        let mut now = self.now();
        let entry = (received_at, now.next);
        now.next += 1;
        now.received.insert(entry);
        HeldDelivery { held: self.clone(), entry }
    }

    /// How many there are, and when the oldest was received.
    fn count_and_oldest(&self) -> (usize, Option<u64>) {
        let now = self.now();
        (now.received.len(), now.received.first().map(|(received_at, _)| *received_at))
    }

    fn now(&self) -> std::sync::MutexGuard<'_, HeldNow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldDelivery {
    fn drop(&mut self) {
        self.held.now().received.remove(&self.entry);
    }
}

/// Measures what is in flight, again and again.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) queue: Queue,
    pub(crate) ledger: Ledger,
    pub(crate) handlers: Vec<(HandlerQueue, Held)>,
}

impl Meter {
    /// Measures until the process stops.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let measured = shutdown.run_until_cancelled(self.measure()).await;
            if let Some(Err(error)) = measured {
                tracing::debug!(error, "what is in flight is not known now");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    async fn measure(&self) -> Result<(), String> {
        let now = Timestamp::now();
        let wait = self
            .handlers
            .iter()
            .flat_map(|(queue, _)| &queue.retry)
            .max()
            .map_or(LONGEST_WAIT, |longest| LONGEST_WAIT.max(*longest * 2));
        let since = SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_sub(wait).ok()).unwrap_or_default();
        let queued = self.queue.queued().await;
        let pending = self.ledger.pending(since).await.map_err(|error| error.to_string())?;
        for (queue, held) in &self.handlers {
            let name = queue.name.as_str();
            let retrying = pending.iter().find(|pending| pending.handler == name);
            let (count, oldest) = held.count_and_oldest();
            show(name, "held", count as u64);
            show(name, "retrying", retrying.map_or(0, |retrying| retrying.count));
            if let Some((_, queued)) = queued.iter().flatten().find(|(handler, _)| *handler == queue.name) {
                show(name, "queued", *queued);
            }
            let oldest = oldest.and_then(|seconds| Timestamp::from_second(i64::try_from(seconds).ok()?).ok());
            let oldest = oldest.into_iter().chain(retrying.map(|retrying| retrying.oldest)).min();
            let age = oldest.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64().max(0.0));
            metrics::gauge!("tidegate_oldest_unapplied_age_seconds", "handler" => name.to_owned()).set(age);
        }
        Ok(())
    }
}

fn show(handler: &str, state: &'static str, count: u64) {
    metrics::gauge!("tidegate_in_flight_events", "handler" => handler.to_owned(), "state" => state).set(count as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_what_is_held_counts() {
        let held = Held::default();
        assert_eq!(held.count_and_oldest(), (0, None));
        let [late, early, twin] = [20, 10, 10].map(|received_at| held.take(received_at));
        assert_eq!(held.count_and_oldest(), (3, Some(10)));
        drop(early);
        assert_eq!(held.count_and_oldest(), (2, Some(10)));
        drop(twin);
        assert_eq!(held.count_and_oldest(), (1, Some(20)));
        drop(late);
        assert_eq!(held.count_and_oldest(), (0, None));
    }
}
