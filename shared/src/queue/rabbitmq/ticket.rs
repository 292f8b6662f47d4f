//! The right and the duty to settle one delivery.

use std::sync::Arc;
use std::time::Duration;

use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::time::Instant;

use super::consumer::Lease;
use super::outgoing::Outgoing;
use super::{random, rung};
use crate::queue::{PublishError, SettleError};
use crate::wire::Message;

/// Time for lapin to write one settlement. Without it the channel is as good as gone.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one try to make a retry durable.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a retry that cannot be published is kept trying before the delivery is given back. Giving it back at once
/// would deliver it again at once, round and round, up to its delivery limit.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(30);
/// Between two such tries.
const PUBLISH_PAUSE: Duration = Duration::from_secs(1);

/// Settles one delivery; consumed by doing so.
#[derive(Debug)]
pub struct RabbitMqTicket {
    tag: u64,
    acker: Acker,
    is_settled: bool,
    /// Keeps the channel open, which a settlement must go through.
    lease: Arc<Lease>,
}

impl RabbitMqTicket {
    pub(super) fn new(tag: u64, acker: Acker, lease: Arc<Lease>) -> Self {
        lease.open.add(tag);
        Self { tag, acker, is_settled: false, lease }
    }

    /// Acknowledges: the queue forgets the message.
    ///
    /// # Errors
    /// [`SettleError::ChannelGone`]: the broker may not have heard of it, and will then deliver the message again.
    ///
    /// # Cancel safety
    /// Dropped half-way, the ticket counts as dropped; the message may come again.
    pub async fn ack(mut self) -> Result<(), SettleError> {
        let outcome = self.lease.acks.ack(self.tag, self.acker.clone()).await;
        self.is_settled = true;
        outcome
    }

    /// Publishes `next` to the rung for `delay`, waits for the confirm, then acknowledges.
    ///
    /// The rung is the shortest that is long enough, or the longest there is, plus 0, 10 or 20 percent by chance. The
    /// message comes back to the queue that this delivery came from.
    ///
    /// # Errors
    /// [`SettleError::NotDurable`] if the rung did not confirm for half a minute: the delivery was given back.
    /// [`SettleError::ChannelGone`] if it did, but the acknowledgement failed: both will come.
    ///
    /// # Cancel safety
    /// As [`Self::ack`]; `next` may have become durable beside it.
    pub async fn retry(mut self, delay: Duration, next: &Message) -> Result<(), SettleError> {
        let outcome = match self.publish_retry(delay, next).await {
            Ok(()) => self.lease.acks.ack(self.tag, self.acker.clone()).await,
            Err(error) => self.lease.give_back(self.tag, &self.acker).await.and(Err(SettleError::NotDurable(error))),
        };
        self.is_settled = true;
        outcome
    }

    /// Gives the delivery back untouched, for this or another worker.
    ///
    /// RabbitMQ before 4.3 counts it towards the delivery limit all the same.
    ///
    /// # Errors
    /// [`SettleError::ChannelGone`]: it will come again all the same.
    pub async fn give_back(mut self) -> Result<(), SettleError> {
        let outcome = self.lease.give_back(self.tag, &self.acker).await;
        self.is_settled = true;
        outcome
    }

    async fn publish_retry(&self, delay: Duration, next: &Message) -> Result<(), PublishError> {
        let shared = &self.lease.shared;
        let message = next.encode();
        let patience_ends = Instant::now() + PUBLISH_PATIENCE;
        loop {
            let rung = shared.names.rung(rung::choose(&shared.delays, delay, random()));
            let outgoing = Outgoing::new(rung, self.lease.queue.clone(), &message);
            let sent = tokio::time::timeout(PUBLISH_TIMEOUT, shared.publisher.send(outgoing)).await;
            let late = || PublishError::OutcomeUnknown(format!("no confirm within {PUBLISH_TIMEOUT:?}"));
            let Err(error) = sent.unwrap_or_else(|_| Err(late())) else { return Ok(()) };
            // It may be there already: another copy beside it would only add to what a slow broker has to do.
            let may_be_durable = matches!(error, PublishError::OutcomeUnknown(_));
            if may_be_durable || self.acker.poisoned() || Instant::now() + PUBLISH_PAUSE > patience_ends {
                return Err(error);
            }
            tracing::debug!(%error, "a retry is not durable yet");
            tokio::time::sleep(PUBLISH_PAUSE).await;
        }
    }
}

impl Drop for RabbitMqTicket {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        metrics::counter!("tidegate_tickets_dropped_total").increment(1);
        tracing::error!(queue = self.lease.queue, "a delivery was dropped without being settled; it is given back");
        if self.lease.shared.given_back.try_send((self.tag, self.acker.clone(), Arc::clone(&self.lease))).is_err() {
            tracing::warn!("it stays with this channel until that closes");
        }
    }
}

/// How far an acknowledgement goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// This delivery.
    Itself,
    /// This delivery and all before it on its channel.
    AllUpToIt,
}

/// Acknowledges; [`super::acks`] decides how far.
#[expect(clippy::disallowed_methods, reason = "this is where Tidegate settles RabbitMQ's deliveries")]
pub(super) async fn acknowledge(acker: &Acker, extent: Extent) -> Result<(), SettleError> {
    let options = BasicAckOptions { multiple: extent == Extent::AllUpToIt };
    settled(tokio::time::timeout(SETTLE_TIMEOUT, acker.ack(options)).await)
}

/// Gives a delivery back to its queue.
///
/// By `nack`, not `reject`: since RabbitMQ 4.3 only the latter says that the message was at fault.
#[expect(clippy::disallowed_methods, reason = "this is where Tidegate settles RabbitMQ's deliveries")]
pub(super) async fn give_back(acker: &Acker) -> Result<(), SettleError> {
    let options = BasicNackOptions {
        multiple: false, // each delivery is settled by its own ticket
        requeue: true,   // back to the queue, not to the dead letters
    };
    settled(tokio::time::timeout(SETTLE_TIMEOUT, acker.nack(options)).await)
}

/// lapin's three ways to say no, and a fourth: none of them may pass for a settlement.
fn settled(answer: Result<lapin::Result<bool>, tokio::time::error::Elapsed>) -> Result<(), SettleError> {
    match answer {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(SettleError::ChannelGone),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a settlement failed");
            Err(SettleError::ChannelGone)
        }
        Err(_) => {
            tracing::warn!("a settlement was not written within {SETTLE_TIMEOUT:?}");
            Err(SettleError::ChannelGone)
        }
    }
}
