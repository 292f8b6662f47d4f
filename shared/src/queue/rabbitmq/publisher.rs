//! The publishing end, as callers hold it.

use lapin::uri::AMQPScheme;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::direct::{self, Direct, Encoded};
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
use crate::wire::{Progress, encode};

/// Publishes waiting for the task; one more is refused, since nothing would come of it within its deadline.
const WAITING_MAX: usize = 4_096;

/// A URL of `amqps://`, and a publisher that does without lapin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the direct publisher speaks no TLS; use amqp:// or ingest.publisher = \"lapin\"")]
pub struct NotOverTls;

/// Publishes events; clones share one connection, which closes after the last of them is gone.
#[derive(Debug, Clone)]
pub struct RabbitMqPublisher {
    way: Way,
    state: watch::Receiver<Health>,
    health: HealthCell,
    names: Names,
    tally: Tally,
    closing: CancellationToken,
    closed: CancellationToken,
}

/// The task that publishes.
#[derive(Debug, Clone)]
enum Way {
    Lapin(mpsc::Sender<Request>),
    Direct(mpsc::Sender<direct::Request>),
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

    /// As [`Self::start`], but events go over a connection of our own, without lapin; see [`super::direct`].
    ///
    /// # Errors
    /// If a URL asks for TLS, which only lapin speaks here.
    pub fn start_direct(settings: &RabbitMqSettings, topology: &Topology, tasks: &Tasks) -> Result<Self, NotOverTls> {
        if settings.uris.iter().any(|uri| uri.scheme == AMQPScheme::AMQPS) {
            return Err(NotOverTls);
        }
        let health = HealthCell::starting("rabbitmq");
        let [vital] = Vital::split(&health);
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let state = vital.watch();
        let supervisor = Supervisor::new(settings, topology, "publish", vital);
        let start = |closing| Direct::new(requests, supervisor, closing).run();
        Ok(Self::start_task(Way::Direct(sender), topology, tasks, health, state, start))
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
        let supervisor = Supervisor::new(settings, topology, "publish", vital);
        let start = |closing| Publishing::new(requests, supervisor, closing).run();
        Self::start_task(Way::Lapin(sender), topology, tasks, health, state, start)
    }

    fn start_task<F>(
        way: Way,
        topology: &Topology,
        tasks: &Tasks,
        health: HealthCell,
        state: watch::Receiver<Health>,
        start: impl FnOnce(CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (closing, closed) = (tasks.shutdown().child_token(), CancellationToken::new());
        let task = start(closing.clone());
        let (shutdown, ended) = (tasks.shutdown().clone(), closed.clone());
        tasks.spawn("rabbitmq publisher", async move {
            task.await;
            ended.cancel();
            shutdown.cancelled().await;
        });
        let (names, tally) = (Names::new(&topology.namespace), Tally::new(topology));
        Self { way, state, health, names, tally, closing, closed }
    }

    /// Makes the event durable for every handler that wants it; has no deadline of its own.
    ///
    /// # Errors
    /// [`PublishError`] keeps "not kept" and "unknown" apart; only `Ok` may lead to a 2xx.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    pub async fn publish(&self, event: &Event) -> Result<(), PublishError> {
        match &self.way {
            Way::Lapin(requests) => {
                let message = encode(event, &Progress::default());
                let outgoing = Outgoing::new(self.names.events(), event.routing_key(), &message);
                self.hand_over(requests, |answer| Request { outgoing, answer }).await?;
            }
            Way::Direct(requests) => {
                let publish = Encoded::first(&self.names.events(), event);
                self.hand_over(requests, |answer| direct::Request { publish, answer }).await?;
            }
        }
        self.tally.count(event);
        Ok(())
    }

    /// Publishes and waits for the confirm.
    pub(super) async fn send(&self, outgoing: Outgoing) -> Result<(), PublishError> {
        match &self.way {
            Way::Lapin(requests) => self.hand_over(requests, |answer| Request { outgoing, answer }).await,
            Way::Direct(_) => Err(PublishError::Refused("this connection publishes events only".to_owned())),
        }
    }

    /// Gives a request to the task, and waits for its outcome.
    async fn hand_over<R>(
        &self,
        requests: &mpsc::Sender<R>,
        request: impl FnOnce(oneshot::Sender<Result<(), PublishError>>) -> R,
    ) -> Result<(), PublishError> {
        {
            let state = self.state.borrow();
            if !state.is_up() {
                return Err(PublishError::Unavailable(state.to_string()));
            }
        }
        let (answer, answered) = oneshot::channel();
        requests.try_send(request(answer)).map_err(|error| {
            PublishError::Unavailable(match error {
                mpsc::error::TrySendError::Full(_) => format!("{WAITING_MAX} publishes are waiting already"),
                mpsc::error::TrySendError::Closed(_) => "the publisher is closed".to_owned(),
            })
        })?;
        #[cfg(feature = "price")]
        if crate::price::Guard::Confirm.is_off() {
            return Ok(());
        }
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
