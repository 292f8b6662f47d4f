//! Settle: answers the queue, once what the event caused is durable.
//!
//! Every arm ends in a [`Settled`], so no delivery can be forgotten: acknowledged after a commit, after a durable retry
//! or after a durable dead letter; given back only if the process stops first.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tidegate_shared::event::{Event, HandlerName};
use tidegate_shared::ledger::{Applied, DeadLetter, FailedAttempt, Kept, Ledger, LedgerUnavailable};
use tidegate_shared::protocol::{Next, after_failure};
use tidegate_shared::queue::{SettleError, Ticket};
use tidegate_shared::wire::{Message, Progress};
use tokio_util::sync::CancellationToken;

use crate::commit::waits;
use crate::decode::{Decoded, Undecodable, note_conflict};

/// An event whose effects and inbox row are in the ledger. Built only by [`Decoded::commit`].
#[derive(Debug)]
pub(crate) struct Committed {
    ticket: Ticket,
    applied: Applied,
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Its effects are committed, now or before.
    Applied(Applied),
    /// It will be tried again.
    Retried,
    /// It is a dead letter.
    Dead,
    /// It is given back, because the process stops.
    GivenBack,
    /// This handler does not want it any more.
    Unwanted,
}

impl Settled {
    pub(crate) fn outcome(self) -> &'static str {
        match self {
            Self::Applied(Applied::Now) => "applied",
            Self::Applied(Applied::Before | Applied::OtherBody) => "applied_before",
            Self::Retried => "retried",
            Self::Dead => "dead",
            Self::GivenBack => "given_back",
            Self::Unwanted => "unwanted",
        }
    }
}

/// Counts a delivery's end. What was accepted for a handler and is not in flight has ended as `applied`,
/// `applied_before`, `dead` or `unwanted`.
pub(crate) fn count_settled(handler: &HandlerName, outcome: &'static str) {
    metrics::counter!("tidegate_settle_total", "handler" => handler.to_string(), "outcome" => outcome).increment(1);
}

/// The ledger, asked again and again while it is away, until the process stops.
#[derive(Debug, Clone)]
pub(crate) struct PatientLedger {
    pub(crate) ledger: Ledger,
    pub(crate) shutdown: CancellationToken,
}

impl PatientLedger {
    /// Runs `write` until it succeeds; `None` if the process stops before.
    pub(crate) async fn until_done<T, F, W>(&self, mut write: W) -> Option<T>
    where
        F: Future<Output = Result<T, LedgerUnavailable>>,
        W: FnMut(Ledger) -> F,
    {
        let mut waits = waits();
        loop {
            match write(self.ledger.clone()).await {
                Ok(value) => return Some(value),
                Err(error) if self.shutdown.is_cancelled() => {
                    tracing::warn!(%error, "the ledger is away at the stop; a delivery is given back");
                    return None;
                }
                Err(error) => tracing::debug!(%error, "a delivery waits for the ledger"),
            }
            tokio::select! {
                () = tokio::time::sleep(waits.next().unwrap_or(Duration::from_secs(1))) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
    }
}

impl Committed {
    pub(crate) fn new(decoded: Decoded, applied: Applied) -> Self {
        let outcome = if applied == Applied::Now { "now" } else { "before" };
        metrics::counter!("tidegate_commit_total", "handler" => decoded.handler.to_string(), "outcome" => outcome)
            .increment(1);
        Self { ticket: decoded.ticket, applied }
    }

    /// Acknowledges.
    ///
    /// # Errors
    /// If the queue did not hear it: the event comes again, and its inbox row drops it.
    pub(crate) async fn ack(self) -> Result<Settled, SettleError> {
        self.ticket.ack().await?;
        Ok(Settled::Applied(self.applied))
    }
}

impl Decoded {
    /// After a failed attempt: keeps its error, then schedules the next one, or gives the event up.
    ///
    /// # Errors
    /// If the queue could not be answered: the event comes again.
    pub(crate) async fn fail(
        self,
        reason: String,
        asked: Option<Duration>,
        ladder: &[Duration],
        wanted_by: &str,
        ledger: &PatientLedger,
    ) -> Result<Settled, SettleError> {
        let delay = match after_failure(&self.progress, ladder, asked) {
            Next::RetryAfter(delay) => delay,
            Next::Dead => return self.dead_letter(reason, wanted_by, ledger).await,
        };
        tracing::info!(
            handler = %self.handler, event_id = %self.event.id, request_id = %self.event.request_id,
            attempt = self.progress.attempt, ?delay, reason, "attempt failed; trying again"
        );
        let attempt = FailedAttempt {
            handler: self.handler.clone(),
            event: Arc::clone(&self.event),
            progress: self.progress.clone(),
            wanted_by: wanted_by.into(),
            at: Timestamp::now(),
            error: reason,
        };
        let kept = ledger.until_done(|ledger| {
            let attempt = attempt.clone();
            async move { ledger.record_attempt(attempt).await }
        });
        if kept.await.is_none() {
            return self.give_back().await;
        }
        let message = Message { event: Event::clone(&self.event), progress: self.progress.next_attempt() };
        self.ticket.retry(delay, &message).await?;
        Ok(Settled::Retried)
    }

    /// Gives the event up: its dead letter commits, then the delivery is acknowledged.
    ///
    /// # Errors
    /// As [`Self::fail`].
    pub(crate) async fn dead_letter(
        self,
        reason: String,
        wanted_by: &str,
        ledger: &PatientLedger,
    ) -> Result<Settled, SettleError> {
        tracing::warn!(
            handler = %self.handler, event_id = %self.event.id, request_id = %self.event.request_id,
            attempt = self.progress.attempt, reason, "event given up; see `tidegate dead list`"
        );
        let dead = DeadLetter {
            handler: self.handler,
            event: Some(self.event),
            progress: self.progress,
            wanted_by: wanted_by.into(),
            message: self.wire,
            reason,
            dead_at: Timestamp::now(),
        };
        keep_dead_letter(dead, self.ticket, ledger).await
    }

    /// Gives the delivery back untouched.
    ///
    /// # Errors
    /// As [`Self::fail`].
    pub(crate) async fn give_back(self) -> Result<Settled, SettleError> {
        self.ticket.give_back().await?;
        Ok(Settled::GivenBack)
    }

    /// Keeps in the event log what no handler wants, or what this one does not: its binding is wider than its
    /// patterns, or of another configuration. Only then is it acknowledged: it was answered 2xx.
    ///
    /// # Errors
    /// As [`Self::fail`].
    pub(crate) async fn unwanted(self, ledger: &PatientLedger) -> Result<Settled, SettleError> {
        let logged = ledger.until_done(|ledger| {
            let event = Arc::clone(&self.event);
            async move { ledger.log_unrouted(event).await }
        });
        if logged.await.is_none() {
            return self.give_back().await;
        }
        self.ticket.ack().await?;
        Ok(Settled::Unwanted)
    }
}

impl Undecodable {
    /// Keeps the message as a dead letter: an operator can look at it, and replay it to a newer worker.
    ///
    /// # Errors
    /// As [`Decoded::fail`].
    pub(crate) async fn dead_letter(self, ledger: &PatientLedger) -> Result<Settled, SettleError> {
        tracing::warn!(handler = %self.handler, error = %self.error, "message cannot be read; given up");
        let dead = DeadLetter {
            handler: self.handler,
            event: None,
            progress: Progress::default(),
            wanted_by: "".into(),
            message: self.wire,
            reason: self.error.to_string(),
            dead_at: Timestamp::now(),
        };
        keep_dead_letter(dead, self.ticket, ledger).await
    }
}

async fn keep_dead_letter(
    mut dead: DeadLetter,
    ticket: Ticket,
    ledger: &PatientLedger,
) -> Result<Settled, SettleError> {
    loop {
        let kept = ledger.until_done(|ledger| {
            let dead = dead.clone();
            async move { ledger.dead_letter(dead).await }
        });
        match kept.await {
            Some(Kept::Done) => break,
            Some(Kept::OtherBody) => {
                dead.event.iter().for_each(|event| note_conflict(&dead.handler, event));
                dead = dead.into_conflict();
            }
            None => {
                ticket.give_back().await?;
                return Ok(Settled::GivenBack);
            }
        }
    }
    ticket.ack().await?;
    Ok(Settled::Dead)
}
