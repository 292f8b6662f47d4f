//! The backstop: drains into the ledger what no handler could or would take.
//!
//! Two streams end here: deliveries under which a worker died again and again, which become dead letters, and events
//! that no handler wants, which are kept in the event log.

use std::sync::Arc;

use tidegate_shared::event::HandlerName;
use tidegate_shared::queue::{Delivery, Queue, SettleError, Stream, Topology};
use tidegate_shared::tasks::Tasks;
use tidegate_shared::telemetry::chain;

use crate::consume::{for_each_delivery, wanted_by};
use crate::decode::Received;
use crate::settle::{PatientLedger, Settled, count_settled};

/// Deliveries of these streams held at once: neither is in a hurry.
const PREFETCH: u16 = 16;

/// Drains both streams.
#[derive(Debug)]
pub(crate) struct Backstop {
    pub(crate) ledger: PatientLedger,
    pub(crate) topology: Arc<Topology>,
}

impl Backstop {
    /// Drains `stream` until the shutdown.
    pub(crate) async fn run(self: Arc<Self>, queue: Queue, stream: Stream, tasks: Tasks) {
        let deliveries = queue.consume(&stream, PREFETCH);
        let jobs = tasks.clone();
        for_each_delivery(deliveries, PREFETCH, &tasks, |delivery, permit| {
            let (backstop, stream) = (Arc::clone(&self), stream.clone());
            drop(jobs.spawn_job(async move {
                let settled = if stream == Stream::Dead {
                    backstop.give_up(delivery).await
                } else {
                    backstop.log(delivery).await
                };
                if let Err(error) = settled {
                    tracing::warn!(error = %chain(&error), "a delivery could not be settled; it comes again");
                }
                drop(permit);
            }));
        })
        .await;
    }

    async fn give_up(&self, delivery: Delivery) -> Result<Settled, SettleError> {
        let handler = delivery.given_up_by.clone().unwrap_or_else(|| name("unknown"));
        let settled = match (Received { handler: handler.clone(), delivery }).decode() {
            Ok(decoded) => {
                let wanted_by = wanted_by(&self.topology, &decoded.event);
                let reason = "given up by the queue: the worker ended again and again while it held this event";
                decoded.dead_letter(reason.to_owned(), &wanted_by, &self.ledger).await
            }
            Err(undecodable) => undecodable.dead_letter(&self.ledger).await,
        };
        settled.inspect(|settled| count_settled(&handler, settled.outcome()))
    }

    async fn log(&self, delivery: Delivery) -> Result<Settled, SettleError> {
        match (Received { handler: name("unrouted"), delivery }).decode() {
            Ok(decoded) => decoded.unwanted(&self.ledger).await,
            Err(undecodable) => undecodable.dead_letter(&self.ledger).await,
        }
    }
}

fn name(text: &str) -> HandlerName {
    HandlerName::try_new(text).expect("a plain word is a valid name")
}
