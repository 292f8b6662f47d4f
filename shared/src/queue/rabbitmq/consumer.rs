//! The consuming end: deliveries of one queue that go on when connections do not.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Acker, Channel, Consumer};

use super::acks::{Acks, Open};
use super::link::{Link, LinkError};
use super::message::{last_death_queue, wire_from_delivery};
use super::name::short;
use super::queue::Shared;
use super::ticket::{RabbitMqTicket, give_back};
use super::topology::declare;
use crate::event::HandlerName;
use crate::queue::{Delivery, SettleError, Stream, Ticket};
use crate::telemetry::chain;

/// Between two attempts to consume on a connection that stands: the queue is missing, or refuses us.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// AMQP's reply code for a channel that ends because it is done with.
const REPLY_SUCCESS: u16 = 200;
/// Time for the broker to begin or end a consumer.
const CONSUME_TIMEOUT: Duration = Duration::from_secs(5);

/// What a ticket needs for as long as it lives.
pub(super) struct Lease {
    /// The queue that the delivery came from.
    pub(super) queue: String,
    pub(super) shared: Arc<Shared>,
    pub(super) open: Open,
    pub(super) acks: Acks,
    /// The channel closes with the last clone of it, and takes the right to settle along.
    _channel: Channel,
    /// The connection's socket closes with it.
    link: Arc<Link>,
}

impl Lease {
    /// Gives a delivery of the channel back to its queue.
    ///
    /// # Errors
    /// As [`give_back`].
    pub(super) async fn give_back(&self, tag: u64, acker: &Acker) -> Result<(), SettleError> {
        let outcome = give_back(acker).await;
        self.open.given_back(tag, &outcome);
        outcome
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// Deliveries of one queue, in no particular order. It outlives lost connections.
pub struct RabbitMqDeliveries {
    source: Source,
    state: State,
}

impl fmt::Debug for RabbitMqDeliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMqDeliveries").field("queue", &self.source.queue).finish_non_exhaustive()
    }
}

/// What to consume.
#[derive(Clone)]
struct Source {
    stream: Stream,
    queue: String,
    prefetch: u16,
    shared: Arc<Shared>,
}

enum State {
    /// Kept across calls of `next`, so that dropping one of those does not begin anew.
    Opening(BoxFuture<'static, Option<Session>>),
    Open(Box<Session>),
    Ended,
}

struct Session {
    consumer: Consumer,
    channel: Channel,
    lease: Arc<Lease>,
}

impl RabbitMqDeliveries {
    pub(super) fn new(stream: &Stream, prefetch: u16, shared: Arc<Shared>) -> Self {
        let queue = shared.names.queue_of(stream);
        // To AMQP 0 means "without limit".
        let source = Source { stream: stream.clone(), queue, prefetch: prefetch.max(1), shared };
        let state = State::Opening(open(source.clone(), Retry::No).boxed());
        Self { source, state }
    }

    /// Waits for the next delivery; `None` once cancelled or the queue's connection was closed.
    ///
    /// # Cancel safety
    /// Cancel safe: a delivery is either returned or stays in the queue.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            match &mut self.state {
                State::Opening(opening) => {
                    self.state = opening.await.map_or(State::Ended, |session| State::Open(Box::new(session)));
                }
                State::Open(session) => match session.consumer.next().await {
                    // Of a channel that ended meanwhile: it cannot be settled, and is delivered again.
                    Some(Ok(delivery)) if delivery.acker.poisoned() => {}
                    Some(Ok(delivery)) => return Some(self.source.delivery(delivery, &session.lease)),
                    Some(Err(error)) => {
                        tracing::warn!(queue = self.source.queue, error = %chain(&error), "a consumer failed");
                        self.reopen();
                    }
                    None => {
                        tracing::warn!(queue = self.source.queue, "a consumer was ended by the broker");
                        self.reopen();
                    }
                },
                State::Ended => return None,
            }
        }
    }

    /// Stops taking new deliveries; those already taken can still be settled.
    ///
    /// Deliveries that were sent to us but not handed out are given back.
    pub async fn cancel(&mut self) {
        let State::Open(session) = std::mem::replace(&mut self.state, State::Ended) else { return };
        let tag = session.consumer.tag();
        let options = BasicCancelOptions { nowait: false /* afterwards nothing more is on its way to us */ };
        let cancelled = tokio::time::timeout(CONSUME_TIMEOUT, session.channel.basic_cancel(tag, options)).await;
        if !matches!(cancelled, Ok(Ok(()))) {
            tracing::debug!(queue = self.source.queue, "the consumer was gone before it was cancelled");
        }
        let mut consumer = session.consumer;
        let rest = async {
            while let Some(Ok(delivery)) = consumer.next().await {
                if give_back(&delivery.acker).await.is_err() {
                    break;
                }
            }
        };
        if tokio::time::timeout(CONSUME_TIMEOUT, rest).await.is_err() {
            tracing::warn!(queue = self.source.queue, "not every delivery was given back in time");
        }
    }

    fn reopen(&mut self) {
        let retry = match &self.state {
            State::Open(session) if session.lease.link.is_connected() => Retry::Yes,
            State::Open(_) | State::Opening(_) | State::Ended => Retry::No,
        };
        self.state = State::Opening(open(self.source.clone(), retry).boxed());
    }
}

impl Source {
    fn delivery(&self, delivery: lapin::message::Delivery, lease: &Arc<Lease>) -> Delivery {
        let lapin::message::Delivery { delivery_tag, redelivered, properties, data, acker, .. } = delivery;
        let given_up_by = match self.stream {
            Stream::Dead => last_death_queue(&properties, &self.shared.names.handler_prefix())
                .and_then(|handler| HandlerName::try_new(handler).ok()),
            Stream::Handler(_) | Stream::Unrouted => None,
        };
        Delivery {
            message: wire_from_delivery(&properties, data),
            redelivered,
            given_up_by,
            ticket: Ticket::RabbitMq(RabbitMqTicket::new(delivery_tag, acker, Arc::clone(lease))),
        }
    }

    async fn open_on(&self, link: &Arc<Link>, retry: Retry) -> Result<Session, OpenError> {
        let channel = link.open_channel().await?;
        let consuming = tokio::time::timeout(CONSUME_TIMEOUT, self.consume_on(link, &channel, retry)).await;
        match consuming {
            Ok(consuming) => Ok(consuming?),
            Err(_) => {
                // The broker may have begun all the same. lapin keeps the channel open for an answer that nobody waits
                // for, and the broker would go on delivering to it: what is not asked to end never does.
                let closing = channel.close(REPLY_SUCCESS, "OK".into());
                if !matches!(tokio::time::timeout(CONSUME_TIMEOUT, closing).await, Ok(Ok(()))) {
                    tracing::debug!(queue = self.queue, "the broker did not answer the close of the channel");
                }
                Err(OpenError::Silent)
            }
        }
    }

    async fn consume_on(&self, link: &Arc<Link>, channel: &Channel, retry: Retry) -> Result<Session, LinkError> {
        if matches!(retry, Retry::Yes) {
            declare(channel, &self.shared.objects).await?;
        }
        let qos = BasicQosOptions { global: false /* per consumer; quorum queues know no other */ };
        channel.basic_qos(self.prefetch, qos).await.map_err(LinkError::Channel)?;
        let options = BasicConsumeOptions {
            no_local: false,  // RabbitMQ does not know it
            no_ack: false,    // only a commit may acknowledge
            exclusive: false, // many workers share a queue
            nowait: false,    // the answer says whether the queue exists
        };
        let tag = short(self.queue.clone());
        let consumer = channel
            .basic_consume(short(self.queue.clone()), tag, options, FieldTable::default())
            .await
            .map_err(LinkError::Channel)?;
        let open = Open::default();
        let (acks, acknowledging) = Acks::new(open.clone());
        let shutdown = self.shared.tasks.shutdown().clone();
        drop(self.shared.tasks.spawn_job(async move {
            tokio::select! {
                () = acknowledging => {}
                // Connections stop after the work that settles: what still holds a delivery has been given up.
                () = shutdown.cancelled() => {}
            }
        }));
        let lease = Lease {
            queue: self.queue.clone(),
            shared: Arc::clone(&self.shared),
            open,
            acks,
            _channel: channel.clone(),
            link: Arc::clone(link),
        };
        Ok(Session { consumer, channel: channel.clone(), lease: Arc::new(lease) })
    }
}

/// Why there is no consumer.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("the broker did not answer the wish to consume")]
    Silent,
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Whether consuming failed on a connection that stands; then the topology is declared first.
#[derive(Clone, Copy)]
enum Retry {
    No,
    Yes,
}

/// Opens a session on the connection of the moment, however long it takes; `None` once the queue was closed.
async fn open(source: Source, mut retry: Retry) -> Option<Session> {
    let mut links = source.shared.links.clone();
    loop {
        if matches!(retry, Retry::Yes) {
            tokio::time::sleep(REOPEN_PAUSE).await;
        }
        let standing = |link: &Option<Arc<Link>>| link.as_ref().is_some_and(|link| link.is_connected());
        let link = links.wait_for(standing).await.ok()?.clone()?;
        match source.open_on(&link, retry).await {
            Ok(session) => return Some(session),
            Err(error) => tracing::warn!(queue = source.queue, error = %chain(&error), "cannot consume yet"),
        }
        retry = Retry::Yes;
    }
}
