//! Retention: lets the ledger forget what is done with and old enough, beside its work and slowly.

use std::future::Future;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tidegate_shared::config::RetentionConfig;
use tidegate_shared::ledger::{Ledger, LedgerUnavailable, Swept};
use tokio_util::sync::CancellationToken;

/// Between two passes.
const EVERY: Duration = Duration::from_secs(60);
/// Rows that one batch looks at.
const BATCH: u32 = 500;
/// After a batch it rests for so many times as long as that took: a tenth of the ledger's time at most.
const REST: u32 = 9;
/// Passes that go on where the one before stopped; the next one begins anew, for what was held back then.
const ANEW: u32 = 60;

/// What is to be swept, and how old it must be; `None` never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ages {
    /// Whole events: as old as the log keeps them, and as old as the inbox remembers them.
    forget: Option<Duration>,
    /// Their headers and bodies, where those go sooner.
    strip: Option<Duration>,
    dead_letters: Option<Duration>,
}

impl Ages {
    fn of(config: &RetentionConfig) -> Self {
        let forget = config.events.zip(config.inbox).map(|(events, inbox)| events.max(inbox));
        let strip = config.events.filter(|events| forget.is_none_or(|forget| *events < forget));
        Self { forget, strip, dead_letters: config.dead_letters }
    }
}

/// How far the walks along the event log have come.
#[derive(Debug, Default)]
struct Cursors {
    forget: i64,
    strip: i64,
}

/// Sweeps until the process stops.
pub(crate) async fn sweep(ledger: Ledger, config: RetentionConfig, shutdown: CancellationToken) {
    let (ages, mut cursors) = (Ages::of(&config), Cursors::default());
    for pass in 0_u32.. {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.cancelled() => return,
        }
        if pass.is_multiple_of(ANEW) {
            cursors = Cursors::default();
        }
        tokio::select! {
            swept = sweep_once(&ledger, ages, &mut cursors) => if let Err(error) = swept {
                tracing::debug!(%error, "what is old stays for now");
            },
            () = shutdown.cancelled() => return,
        }
    }
}

async fn sweep_once(ledger: &Ledger, ages: Ages, cursors: &mut Cursors) -> Result<(), LedgerUnavailable> {
    if let Some(before) = before(ages.dead_letters) {
        while batch("dead_letters", || ledger.forget_dead_letters(before, BATCH)).await? > 0 {}
    }
    if let Some(before) = before(ages.strip) {
        walk("content", &mut cursors.strip, |cursor| ledger.strip_events(before, cursor, BATCH)).await?;
    }
    if let Some(before) = before(ages.forget) {
        walk("events", &mut cursors.forget, |cursor| ledger.forget_events(before, cursor, BATCH)).await?;
    }
    Ok(())
}

fn before(age: Option<Duration>) -> Option<Timestamp> {
    let age = SignedDuration::try_from(age?).ok()?;
    Timestamp::now().checked_sub(age).ok()
}

async fn walk<F>(what: &'static str, cursor: &mut i64, mut sweep: impl FnMut(i64) -> F) -> Result<(), LedgerUnavailable>
where
    F: Future<Output = Result<Swept, LedgerUnavailable>>,
{
    loop {
        let mut next = None;
        batch(what, || async {
            let swept = sweep(*cursor).await?;
            next = swept.next;
            Ok(swept.count)
        })
        .await?;
        match next {
            Some(reached) => *cursor = reached,
            None => return Ok(()),
        }
    }
}

/// One batch, and the rest after it.
async fn batch<F>(what: &'static str, sweep: impl FnOnce() -> F) -> Result<u64, LedgerUnavailable>
where
    F: Future<Output = Result<u64, LedgerUnavailable>>,
{
    let began = Instant::now();
    let count = sweep().await?;
    metrics::counter!("tidegate_swept_total", "what" => what).increment(count);
    tokio::time::sleep(began.elapsed() * REST).await;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn check(events: Option<u32>, inbox: Option<u32>, forget: Option<u32>, strip: Option<u32>) {
        let days = |days: Option<u32>| days.map(|days| DAY * days);
        let config = RetentionConfig { inbox: days(inbox), events: days(events), dead_letters: None };
        assert_eq!(Ages::of(&config), Ages { forget: days(forget), strip: days(strip), dead_letters: None });
    }

    #[test]
    fn an_event_is_forgotten_when_neither_the_log_nor_the_inbox_wants_it() {
        check(Some(35), Some(35), Some(35), None);
        check(Some(90), Some(35), Some(90), None);
        check(Some(7), Some(35), Some(35), Some(7));
        check(Some(7), None, None, Some(7));
        check(None, Some(35), None, None);
    }
}
