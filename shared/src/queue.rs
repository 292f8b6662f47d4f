//! The queue: where an event is durable before the sender reads a 2xx, and where the worker takes it from.
//!
//! Two adapters: [`rabbitmq`] (quorum queues) and [`embedded`] (rows of the embedded store). Both deliver at least
//! once: the same event may be delivered twice, and order is not kept.

use std::time::Duration;

use crate::event::{Event, HandlerName};
use crate::health::HealthCell;
use crate::pattern::Pattern;
use crate::wire::{Message, WireMessage};

pub mod embedded;
pub mod rabbitmq;
mod tally;

/// How often one delivery may end without an answer (the process died under it) before the backstop takes it.
pub const DELIVERY_LIMIT: u32 = 20;

/// Every queue that must exist, as the configuration asks for it.
#[derive(Debug, Clone)]
pub struct Topology {
    /// First word of every object's name on the broker: several installations can share one.
    pub namespace: String,
    /// One queue per handler.
    pub handlers: Vec<HandlerQueue>,
}

/// One handler's queue.
#[derive(Debug, Clone)]
pub struct HandlerQueue {
    /// The handler's name.
    pub name: HandlerName,
    /// Which events it wants.
    pub on: Vec<Pattern>,
    /// The delays of its retry ladder, in order.
    pub retry: Vec<Duration>,
    /// How many deliveries it may hold unsettled.
    pub prefetch: u16,
}

impl Topology {
    /// The handlers that want the event.
    pub fn handlers_for<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = &'a HandlerQueue> {
        self.handlers.iter().filter(|handler| handler.wants(event))
    }
}

impl HandlerQueue {
    /// Says whether the handler wants the event.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        self.on.iter().any(|pattern| pattern.matches(event))
    }
}

/// What became of a publish that did not fail. All three are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Stored now.
    New,
    /// The same event stood there already (embedded only; with RabbitMQ the claims answer this).
    Duplicate,
    /// An event with this key and another body stood there already (embedded only). Nothing was stored.
    OtherBody,
}

/// Why an event is not known to be durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The queue cannot take anything now: not connected, blocked by an alarm, shutting down. Nothing was sent.
    #[error("the queue is not available: {0}")]
    Unavailable(String),
    /// The queue said no: full, or no queue would have kept it. Nothing was kept.
    #[error("the queue refused the event: {0}")]
    Refused(String),
    /// It may or may not have been kept: no answer in time, or the connection was lost before one.
    #[error("it is unknown whether the queue kept the event: {0}")]
    OutcomeUnknown(String),
}

/// Why a delivery could not be settled. It will be delivered again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The channel that brought it is gone, and with it the right to settle.
    #[error("the channel that brought the delivery is gone")]
    ChannelGone,
    /// The retry could not be made durable, so the delivery was not acknowledged.
    #[error("the retry is not durable")]
    NotDurable(#[source] PublishError),
    /// The embedded store failed.
    #[error("the store failed: {0}")]
    Store(String),
}

/// The door's end of the port.
#[derive(Debug, Clone)]
pub enum Publisher {
    /// Into the embedded store.
    Embedded(embedded::EmbeddedQueue),
    /// To RabbitMQ.
    RabbitMq(rabbitmq::RabbitMqPublisher),
}

impl Publisher {
    /// Makes the event durable for every handler that wants it, within `deadline`.
    ///
    /// `window` is how long the embedded store remembers the event's claim.
    ///
    /// # Errors
    /// [`PublishError`] keeps "not kept" and "unknown" apart; only `Ok` may lead to a 2xx.
    pub async fn publish(&self, event: &Event, window: Duration, deadline: Duration) -> Result<Stored, PublishError> {
        #[cfg(feature = "price")]
        if crate::price::Guard::Publish.is_off() {
            return Ok(Stored::New);
        }
        let stored = async {
            match self {
                Self::Embedded(queue) => queue.publish(event, window).await,
                Self::RabbitMq(publisher) => publisher.publish(event).await.map(|()| Stored::New),
            }
        };
        match tokio::time::timeout(deadline, stored).await {
            Ok(outcome) => outcome,
            Err(_) => Err(PublishError::OutcomeUnknown(format!("no confirm within {deadline:?}"))),
        }
    }

    /// The queue's state.
    #[must_use]
    pub fn health(&self) -> &HealthCell {
        match self {
            Self::Embedded(queue) => queue.health(),
            Self::RabbitMq(publisher) => publisher.health(),
        }
    }
}

/// The worker's end of the port.
#[derive(Debug, Clone)]
pub enum Queue {
    /// Of the embedded store.
    Embedded(embedded::EmbeddedQueue),
    /// Of RabbitMQ.
    RabbitMq(rabbitmq::RabbitMqQueue),
}

/// Which queue to take deliveries from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Stream {
    /// A handler's own.
    Handler(HandlerName),
    /// The backstop: deliveries under which a worker died again and again.
    Dead,
    /// Events that no handler wants.
    Unrouted,
}

/// A message out of a queue, with the right and the duty to settle it.
#[derive(Debug)]
pub struct Delivery {
    /// What was delivered.
    pub message: WireMessage,
    /// The queue's hint that it was delivered before. Only a hint.
    pub redelivered: bool,
    /// For the backstop: the handler whose queue gave the message up, where it is known.
    pub given_up_by: Option<HandlerName>,
    /// Settles it.
    pub ticket: Ticket,
}

/// The right and the duty to settle one delivery; consumed by doing so.
///
/// Dropped unsettled, it logs an error, counts in `tidegate_tickets_dropped_total` and gives the delivery back.
#[derive(Debug)]
pub enum Ticket {
    /// For a row of the embedded store.
    Embedded(embedded::EmbeddedTicket),
    /// For an AMQP delivery.
    RabbitMq(rabbitmq::RabbitMqTicket),
}

impl Ticket {
    /// Acknowledges: the queue forgets the message. Only after what it caused is durable.
    ///
    /// # Errors
    /// If the queue did not take the acknowledgement: the message will come again.
    pub async fn ack(self) -> Result<(), SettleError> {
        match self {
            Self::Embedded(ticket) => ticket.ack().await,
            Self::RabbitMq(ticket) => ticket.ack().await,
        }
    }

    /// Makes `next` durable, to be delivered to the same handler after about `delay`, then acknowledges this one.
    ///
    /// # Errors
    /// If either did not happen: the message will come again, perhaps beside `next`.
    pub async fn retry(self, delay: Duration, next: &Message) -> Result<(), SettleError> {
        match self {
            Self::Embedded(ticket) => ticket.retry(delay, next).await,
            Self::RabbitMq(ticket) => ticket.retry(delay, next).await,
        }
    }

    /// Gives the delivery back untouched, for this or another worker.
    ///
    /// # Errors
    /// If the queue did not take it back: it will come again all the same, when the connection's end is noticed.
    pub async fn give_back(self) -> Result<(), SettleError> {
        match self {
            Self::Embedded(ticket) => ticket.give_back().await,
            Self::RabbitMq(ticket) => ticket.give_back().await,
        }
    }
}

/// Deliveries of one queue, in no particular order. It outlives lost connections.
#[derive(Debug)]
pub enum Deliveries {
    /// Of the embedded store.
    Embedded(embedded::EmbeddedDeliveries),
    /// Of RabbitMQ.
    RabbitMq(rabbitmq::RabbitMqDeliveries),
}

impl Deliveries {
    /// Waits for the next delivery; `None` once the queue was closed.
    ///
    /// # Cancel safety
    /// Cancel safe: a delivery is either returned or stays in the queue.
    pub async fn next(&mut self) -> Option<Delivery> {
        match self {
            Self::Embedded(deliveries) => deliveries.next().await,
            Self::RabbitMq(deliveries) => deliveries.next().await,
        }
    }

    /// Stops taking new deliveries; those already taken can still be settled.
    pub async fn cancel(&mut self) {
        match self {
            Self::Embedded(deliveries) => deliveries.cancel().await,
            Self::RabbitMq(deliveries) => deliveries.cancel().await,
        }
    }
}

impl Queue {
    /// Takes deliveries from `stream`, at most `prefetch` unsettled at a time.
    #[must_use]
    pub fn consume(&self, stream: &Stream, prefetch: u16) -> Deliveries {
        match self {
            Self::Embedded(queue) => Deliveries::Embedded(queue.consume(stream, prefetch)),
            Self::RabbitMq(queue) => Deliveries::RabbitMq(queue.consume(stream, prefetch)),
        }
    }

    /// Puts a message into one handler's queue: an operator's replay.
    ///
    /// # Errors
    /// [`PublishError`]: the message is not known to be durable.
    pub async fn deliver(&self, handler: &HandlerName, message: &WireMessage) -> Result<(), PublishError> {
        match self {
            Self::Embedded(queue) => queue.deliver(handler, message).await,
            Self::RabbitMq(queue) => queue.deliver(handler, message).await,
        }
    }

    /// How many messages of each handler wait to be taken now; `None` if the queue cannot be asked.
    pub async fn queued(&self) -> Option<Vec<(HandlerName, u64)>> {
        match self {
            Self::Embedded(queue) => queue.queued().await,
            Self::RabbitMq(queue) => queue.queued().await,
        }
    }

    /// The queue's state.
    #[must_use]
    pub fn health(&self) -> &HealthCell {
        match self {
            Self::Embedded(queue) => queue.health(),
            Self::RabbitMq(queue) => queue.health(),
        }
    }
}
