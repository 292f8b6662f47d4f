//! The worker's handle: one connection for consuming, another for publishing.
//!
//! Two, since lapin stops writing anything on a connection that the broker has blocked for an alarm. Acknowledgements
//! must still get through then: they are what makes the room that ends the alarm.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::{Acker, Event};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::consumer::{Lease, RabbitMqDeliveries};
use super::link::{Events, Link};
use super::name::Names;
use super::outgoing::Outgoing;
use super::publisher::RabbitMqPublisher;
use super::pulse;
use super::supervisor::Supervisor;
use super::topology::{Object, message_count};
use super::vital::Vital;
use super::{CLOSE_TIMEOUT, RabbitMqSettings, rung};
use crate::event::HandlerName;
use crate::health::{Health, HealthCell};
use crate::queue::{PublishError, Stream, Topology};
use crate::tasks::Tasks;
use crate::telemetry::chain;
use crate::wire::WireMessage;

/// Dropped tickets that wait to be given back; beyond that they stay with their channel until it closes.
const GIVEN_BACK_MAX: usize = 1_024;
/// Time for every queue to say how long it is.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a replayed message to be confirmed.
const DELIVER_TIMEOUT: Duration = Duration::from_secs(5);

/// RabbitMQ for a worker; clones share two connections, which close after the last clone, delivery and ticket is gone.
#[derive(Debug, Clone)]
pub struct RabbitMqQueue {
    shared: Arc<Shared>,
}

/// A ticket's tag and acker, with the channel that it settles through.
type Dropped = (u64, Acker, Arc<Lease>);

/// What deliveries and tickets need of the queue.
pub(super) struct Shared {
    pub(super) names: Names,
    pub(super) delays: Vec<Duration>,
    pub(super) objects: Arc<[Object]>,
    pub(super) publisher: RabbitMqPublisher,
    /// The connection for consuming, while there is one.
    pub(super) links: watch::Receiver<Option<Arc<Link>>>,
    pub(super) given_back: mpsc::Sender<Dropped>,
    /// Where each channel's acknowledging task runs.
    pub(super) tasks: Tasks,
    handlers: Vec<HandlerName>,
    health: HealthCell,
    closing: CancellationToken,
    closed: CancellationToken,
    _closes: DropGuard,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("names", &self.names).finish_non_exhaustive()
    }
}

impl RabbitMqQueue {
    /// Starts connecting, and returns at once.
    ///
    /// The connections end with the shutdown of `tasks`, which must come after that of the work that settles, or with
    /// the last thing taken from here, or with [`Self::close`].
    #[must_use]
    pub fn start(settings: &RabbitMqSettings, topology: &Topology, tasks: &Tasks) -> Self {
        let health = HealthCell::starting("rabbitmq");
        let [publish, consume] = Vital::split(&health);
        let publisher = RabbitMqPublisher::start_as_part(settings, topology, tasks, health.clone(), publish);
        let (link_sender, links) = watch::channel(None);
        let (given_back, dropped) = mpsc::channel(GIVEN_BACK_MAX);
        let (closing, closed) = (tasks.shutdown().child_token(), CancellationToken::new());
        let supervisor = Supervisor::new(settings, topology, "consume", consume);
        let objects = supervisor.objects();
        let names = Names::new(&topology.namespace);
        let task = Task { supervisor, pulse: names.pulse(), links: link_sender, dropped, closing: closing.clone() };
        let (shutdown, ended) = (tasks.shutdown().clone(), closed.clone());
        tasks.spawn("rabbitmq consumer", async move {
            task.run().await;
            ended.cancel();
            shutdown.cancelled().await;
        });
        let shared = Shared {
            names,
            delays: rung::delays(topology),
            objects,
            publisher,
            links,
            given_back,
            tasks: tasks.clone(),
            handlers: topology.handlers.iter().map(|handler| handler.name.clone()).collect(),
            health,
            _closes: closing.clone().drop_guard(),
            closing,
            closed,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes deliveries from `stream`, at most `prefetch` unsettled at a time.
    #[must_use]
    pub fn consume(&self, stream: &Stream, prefetch: u16) -> RabbitMqDeliveries {
        RabbitMqDeliveries::new(stream, prefetch, Arc::clone(&self.shared))
    }

    /// Puts a message into one handler's queue: an operator's replay.
    ///
    /// # Errors
    /// [`PublishError`]: the message is not known to be durable.
    pub async fn deliver(&self, handler: &HandlerName, message: &WireMessage) -> Result<(), PublishError> {
        if !self.shared.handlers.contains(handler) {
            return Err(PublishError::Refused(format!("there is no handler {handler}")));
        }
        // The default exchange routes by the queue's name.
        let outgoing = Outgoing::new(String::new(), self.shared.names.handler(handler), message);
        let late = |_| Err(PublishError::OutcomeUnknown(format!("no confirm within {DELIVER_TIMEOUT:?}")));
        tokio::time::timeout(DELIVER_TIMEOUT, self.shared.publisher.send(outgoing)).await.unwrap_or_else(late)
    }

    /// How many messages of each handler wait to be taken; `None` while there is no connection.
    pub async fn queued(&self) -> Option<Vec<(HandlerName, u64)>> {
        let link = self.shared.links.borrow().clone()?;
        // One of its own: the answer to a queue that is gone closes it.
        let count = async {
            let channel = link.open_channel().await.ok()?;
            let mut counted = Vec::with_capacity(self.shared.handlers.len());
            for handler in &self.shared.handlers {
                let queue = self.shared.names.handler(handler);
                counted.push((handler.clone(), message_count(&channel, queue).await.ok()?.into()));
            }
            channel.close(200, "OK".into()).await.ok()?;
            Some(counted)
        };
        tokio::time::timeout(COUNT_TIMEOUT, count).await.ok().flatten()
    }

    /// The state of both connections: up only if both are.
    #[must_use]
    pub fn health(&self) -> &HealthCell {
        &self.shared.health
    }

    /// Closes both connections, after everything was settled: what is not settled by then is delivered again.
    pub async fn close(&self) {
        self.shared.publisher.close().await;
        self.shared.closing.cancel();
        if tokio::time::timeout(CLOSE_TIMEOUT, self.shared.closed.cancelled()).await.is_err() {
            tracing::warn!("the consuming connection did not close in time");
        }
    }
}

struct Task {
    supervisor: Supervisor,
    /// The queue that says whether the node has a majority.
    pulse: String,
    links: watch::Sender<Option<Arc<Link>>>,
    dropped: mpsc::Receiver<Dropped>,
    closing: CancellationToken,
}

impl Task {
    async fn run(mut self) {
        while let Some((link, events)) = self.connect().await {
            let link = Arc::new(link);
            self.links.send_replace(Some(Arc::clone(&link)));
            self.supervisor.vital().set(Health::Up);
            let lost = self.serve(&link, events).await;
            self.links.send_replace(None);
            if let Some(reason) = &lost {
                self.supervisor.lost(reason);
            }
            link.close().await;
            if lost.is_none() {
                break;
            }
        }
        self.supervisor.vital().set(Health::Closed);
    }

    async fn connect(&mut self) -> Option<(Link, Events)> {
        tokio::select! {
            connected = self.supervisor.connect() => Some(connected),
            () = self.closing.cancelled() => None,
        }
    }

    /// Watches the connection until it is lost, and says why; `None` if it is to be closed.
    async fn serve(&mut self, link: &Link, mut events: Events) -> Option<String> {
        let mut without_majority = pin!(async {
            if self.supervisor.has_choice() { pulse::until_lost(link, &self.pulse).await } else { pending().await }
        });
        loop {
            tokio::select! {
                event = events.next() => match event {
                    // Of one channel, whose consumer begins anew by itself.
                    Some(Event::Error(error)) if error.is_amqp_soft_error() => {}
                    Some(Event::Error(error)) => return Some(chain(&error).to_string()),
                    None => return Some("the connection ended".to_owned()),
                    // This connection never publishes, so no alarm concerns it.
                    Some(_) => {}
                },
                Some((tag, acker, lease)) = self.dropped.recv() => {
                    if lease.give_back(tag, &acker).await.is_err() {
                        tracing::debug!(?lease, "a dropped delivery went back with its channel");
                    }
                }
                lost = &mut without_majority => return Some(chain(&lost).to_string()),
                () = self.closing.cancelled() => return None,
            }
        }
    }
}
