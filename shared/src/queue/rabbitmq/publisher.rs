//! The publishing end, as callers hold it.

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::name::Names;
use super::outgoing::{Outgoing, Request};
use super::publishing::Publishing;
use super::supervisor::Supervisor;
use super::vital::Vital;
use super::{CLOSE_TIMEOUT, RabbitMqSettings};
use crate::event::Event;
use crate::health::{Health, HealthCell};
use crate::queue::tally::Tally;
use crate::queue::{PublishError, Topology};
use crate::tasks::Tasks;
use crate::wire::Message;

/// Publishes waiting for the task; one more is refused, since nothing would come of it within its deadline.
const WAITING_MAX: usize = 4_096;

/// Publishes events; clones share one connection, which closes after the last of them is gone.
#[derive(Debug, Clone)]
pub struct RabbitMqPublisher {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<Health>,
    health: HealthCell,
    names: Names,
    tally: Tally,
    closing: CancellationToken,
    closed: CancellationToken,
}

impl RabbitMqPublisher {
    /// Starts connecting, and returns at once.
    ///
    /// The connection ends with the shutdown of `tasks`, which must come after that of the work that publishes, or with
    /// the last clone, or with [`Self::close`].
    #[must_use]
    pub fn start(settings: &RabbitMqSettings, topology: &Topology, tasks: &Tasks) -> Self {
        let health = HealthCell::starting("rabbitmq");
        let [vital] = Vital::split(&health);
        Self::start_as_part(settings, topology, tasks, health, vital)
    }

    /// Starts as one of several connections behind `health`.
    pub(super) fn start_as_part(
        settings: &RabbitMqSettings,
        topology: &Topology,
        tasks: &Tasks,
        health: HealthCell,
        vital: Vital,
    ) -> Self {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let state = vital.watch();
        let (closing, closed) = (tasks.shutdown().child_token(), CancellationToken::new());
        let supervisor = Supervisor::new(settings, topology, "publish", vital);
        let task = Publishing::new(requests, supervisor, closing.clone());
        let (shutdown, ended) = (tasks.shutdown().clone(), closed.clone());
        tasks.spawn("rabbitmq publisher", async move {
            task.run().await;
            ended.cancel();
            shutdown.cancelled().await;
        });
        let (names, tally) = (Names::new(&topology.namespace), Tally::new(topology));
        Self { requests: sender, state, health, names, tally, closing, closed }
    }

    /// Makes the event durable for every handler that wants it; has no deadline of its own.
    ///
    /// # Errors
    /// [`PublishError`] keeps "not kept" and "unknown" apart; only `Ok` may lead to a 2xx.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    pub async fn publish(&self, event: &Event) -> Result<(), PublishError> {
        let message = Message::first(event.clone()).encode();
        self.send(Outgoing::new(self.names.events(), event.routing_key(), &message)).await?;
        self.tally.count(event);
        Ok(())
    }

    /// Publishes and waits for the confirm.
    pub(super) async fn send(&self, outgoing: Outgoing) -> Result<(), PublishError> {
        {
            let state = self.state.borrow();
            if !state.is_up() {
                return Err(PublishError::Unavailable(state.to_string()));
            }
        }
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(Request { outgoing, answer }).map_err(|error| {
            PublishError::Unavailable(match error {
                mpsc::error::TrySendError::Full(_) => format!("{WAITING_MAX} publishes are waiting already"),
                mpsc::error::TrySendError::Closed(_) => "the publisher is closed".to_owned(),
            })
        })?;
        let lost = |_| Err(PublishError::OutcomeUnknown("the connection was lost before the confirm".to_owned()));
        answered.await.unwrap_or_else(lost)
    }

    /// The state of the connection.
    #[must_use]
    pub fn health(&self) -> &HealthCell {
        &self.health
    }

    /// Takes no more publishes, waits for those in flight and closes the connection.
    pub async fn close(&self) {
        self.closing.cancel();
        if tokio::time::timeout(CLOSE_TIMEOUT, self.closed.cancelled()).await.is_err() {
            tracing::warn!("the publisher did not close in time; what was in flight is unknown");
        }
    }
}
