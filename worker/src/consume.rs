//! Consume: takes deliveries of one handler and walks each along the whole path.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_shared::event::Event;
use tidegate_shared::queue::{Deliveries, Delivery, HandlerQueue, Queue, SettleError, Stream, Topology};
use tidegate_shared::tasks::Tasks;
use tidegate_shared::telemetry::chain;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::commit::{Committer, Uncommitted};
use crate::decode::{Decoded, Received};
use crate::handle::{Outcome, RunnableHandler, World};
use crate::in_flight::Held;
use crate::settle::{PatientLedger, Settled, count_settled};

/// Everything that one handler's deliveries need on their path.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) queue: HandlerQueue,
    pub(crate) handler: RunnableHandler,
    pub(crate) topology: Arc<Topology>,
    pub(crate) committer: Committer,
    pub(crate) ledger: PatientLedger,
    pub(crate) world: World,
    pub(crate) held: Held,
}

impl Consumer {
    /// Takes deliveries until the shutdown. Each is a job of `tasks`, and at most the queue's prefetch run at once.
    pub(crate) async fn run(self: Arc<Self>, queue: Queue, tasks: Tasks) {
        let stream = Stream::Handler(self.queue.name.clone());
        let deliveries = queue.consume(&stream, self.queue.prefetch);
        let jobs = tasks.clone();
        for_each_delivery(deliveries, self.queue.prefetch, &tasks, |delivery, permit| {
            let consumer = Arc::clone(&self);
            drop(jobs.spawn_job(async move {
                consumer.settle_and_tell(delivery).await;
                drop(permit);
            }));
        })
        .await;
    }

    async fn settle_and_tell(&self, delivery: Delivery) {
        let started = Instant::now();
        let handler = &self.queue.name;
        let _held = self.held.take(delivery.message.timestamp);
        let outcome = match self.process(Received { handler: handler.clone(), delivery }).await {
            Ok(settled) => settled.outcome(),
            Err(error) => {
                tracing::warn!(%handler, error = %chain(&error), "a delivery could not be settled; it comes again");
                "unsettled"
            }
        };
        count_settled(handler, outcome);
        metrics::histogram!("tidegate_delivery_seconds", "handler" => handler.to_string())
            .record(started.elapsed().as_secs_f64());
    }

    /// The whole path: every arm ends in a [`Settled`].
    async fn process(&self, received: Received) -> Result<Settled, SettleError> {
        let mut decoded = match received.decode() {
            Ok(decoded) => decoded,
            Err(undecodable) => return undecodable.dead_letter(&self.ledger).await,
        };
        // A replay goes to one handler on purpose, whatever its patterns are by now.
        if decoded.progress.replay_of.is_none() && !self.queue.wants(&decoded.event) {
            return decoded.unwanted(&self.ledger).await;
        }
        let wanted_by = self.wanted_by(&decoded.event);
        loop {
            let effects = match self.run_handler(&decoded).await {
                Outcome::Done(effects) => effects,
                Outcome::Retry { after, reason } => return self.fail(decoded, reason, after, &wanted_by).await,
                Outcome::Reject { reason } => return decoded.dead_letter(reason, &wanted_by, &self.ledger).await,
            };
            match decoded.commit(effects, &wanted_by, &self.committer).await {
                Ok(committed) => return committed.ack().await,
                Err(Uncommitted::Refused { decoded, reason }) => {
                    return self.fail(*decoded, reason, None, &wanted_by).await;
                }
                // Once more, with a key that no other body can have.
                Err(Uncommitted::OtherBody { decoded: other }) => decoded = other.into_conflict(),
                Err(Uncommitted::Stopping { decoded }) => return decoded.give_back().await,
            }
        }
    }

    async fn fail(
        &self,
        decoded: Decoded,
        reason: String,
        after: Option<Duration>,
        wanted_by: &str,
    ) -> Result<Settled, SettleError> {
        decoded.fail(reason, after, &self.queue.retry, wanted_by, &self.ledger).await
    }

    async fn run_handler(&self, decoded: &Decoded) -> Outcome {
        let started = Instant::now();
        let outcome = self.handler.run(&decoded.event, &decoded.progress, Some(&self.world)).await;
        let label = match &outcome {
            Outcome::Done(_) => "done",
            Outcome::Retry { .. } => "retry",
            Outcome::Reject { .. } => "reject",
        };
        let handler = self.queue.name.to_string();
        metrics::counter!("tidegate_handle_total", "handler" => handler.clone(), "outcome" => label).increment(1);
        metrics::histogram!("tidegate_handle_seconds", "handler" => handler).record(started.elapsed().as_secs_f64());
        tracing::debug!(
            handler = %decoded.handler, event_id = %decoded.event.id, request_id = %decoded.event.request_id,
            traceparent = decoded.event.traceparent, attempt = decoded.progress.attempt, outcome = label, "event handled"
        );
        outcome
    }

    /// Names of the handlers that want the event, for the event log.
    fn wanted_by(&self, event: &Event) -> String {
        wanted_by(&self.topology, event)
    }
}

pub(crate) fn wanted_by(topology: &Topology, event: &Event) -> String {
    topology.handlers_for(event).map(|handler| handler.name.as_str()).collect::<Vec<_>>().join(",")
}

/// Gives each delivery to `each` until the shutdown or the end of the queue; then stops taking new ones.
///
/// `each` holds the permit until the delivery is settled: the queue's own prefetch begins anew with every connection, so
/// that it alone would not bound what one process holds.
pub(crate) async fn for_each_delivery(
    mut deliveries: Deliveries,
    at_once_max: u16,
    tasks: &Tasks,
    mut each: impl FnMut(Delivery, OwnedSemaphorePermit),
) {
    let permits = Arc::new(Semaphore::new(usize::from(at_once_max)));
    let next = async |deliveries: &mut Deliveries| {
        let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
        Some((deliveries.next().await?, permit))
    };
    loop {
        let taken = tokio::select! {
            () = tasks.shutdown().cancelled() => break,
            taken = next(&mut deliveries) => taken,
        };
        match taken {
            Some((delivery, permit)) => each(delivery, permit),
            None => break,
        }
    }
    deliveries.cancel().await;
}
