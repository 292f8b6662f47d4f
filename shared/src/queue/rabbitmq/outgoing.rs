//! One publish, from the request for it to its confirm.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::oneshot;

use super::message::{header_bytes, properties_from_wire};
use super::name::short;
use crate::queue::PublishError;
use crate::wire::WireMessage;

/// How long a confirm may take before it counts as lost. Longer than callers wait as a rule: the caller has left by
/// then, this bounds what a lost confirm holds, and how long a node is kept that has no majority any more.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(6);

/// A message on its way to an exchange.
#[derive(Debug)]
pub(super) struct Outgoing {
    exchange: ShortString,
    routing_key: ShortString,
    properties: BasicProperties,
    header_bytes: usize,
    message_id: String,
    body: Bytes,
}

impl Outgoing {
    /// About how many bytes its properties take in their frame, and how many its body.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.header_bytes, self.body.len())
    }

    /// For `exchange`, "" being the one that routes by the queue's name.
    pub(super) fn new(exchange: String, routing_key: String, message: &WireMessage) -> Self {
        Self {
            exchange: short(exchange),
            routing_key: short(routing_key),
            properties: properties_from_wire(message),
            header_bytes: header_bytes(message),
            message_id: message.message_id.clone(),
            body: message.body.clone(),
        }
    }
}

/// A message, with who waits for its outcome.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) outgoing: Outgoing,
    pub(super) answer: oneshot::Sender<Result<(), PublishError>>,
}

impl Request {
    /// Says whether the caller has left: nobody would learn the outcome.
    pub(super) fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }

    /// Answers without publishing.
    pub(super) fn answer(self, outcome: Result<(), PublishError>) {
        // The caller may be gone, and with it every use of the answer.
        drop(self.answer.send(outcome));
    }
}

/// What the broker said about a publish.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Kept, if no message was returned meanwhile.
    Confirmed,
    /// A message was returned, not necessarily this one.
    Returned(Returned),
    /// Not kept.
    Refused,
    /// No answer in time.
    Late,
    /// The channel or the connection ended.
    Failed(lapin::Error),
    /// No confirm can come.
    Unconfirmed,
}

/// A returned message, without its body.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) message_id: String,
    exchange: String,
    routing_key: String,
    reply: String,
}

impl From<BasicReturnMessage> for Returned {
    fn from(message: BasicReturnMessage) -> Self {
        let message_id = message.delivery.properties.message_id().as_ref().map(ToString::to_string);
        Self {
            message_id: message_id.unwrap_or_default(),
            exchange: message.delivery.exchange.to_string(),
            routing_key: message.delivery.routing_key.to_string(),
            reply: message.reply_text.to_string(),
        }
    }
}

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message_id, exchange, routing_key, reply } = self;
        write!(f, "{reply} for message {message_id} at exchange {exchange:?} with routing key {routing_key:?}")
    }
}

/// A publish with its outcome.
#[derive(Debug)]
pub(super) struct Flown {
    answer: oneshot::Sender<Result<(), PublishError>>,
    pub(super) message_id: String,
    /// Size of the body.
    pub(super) bytes: usize,
    pub(super) outcome: Outcome,
}

impl Flown {
    /// Tells the caller.
    pub(super) fn answer(self, outcome: Result<(), PublishError>) {
        // The caller may be gone, and with it every use of the answer.
        drop(self.answer.send(outcome));
    }
}

/// Publishes and waits for the confirm.
///
/// # Cancel safety
/// Not cancel safe: lapin keeps a dropped confirm until the channel ends.
#[expect(clippy::disallowed_methods, reason = "this is where Tidegate publishes to RabbitMQ")]
pub(super) async fn fly(channel: Channel, request: Request) -> Flown {
    let Request { outgoing, answer } = request;
    let Outgoing { exchange, routing_key, properties, header_bytes: _, message_id, body } = outgoing;
    let options = BasicPublishOptions {
        mandatory: true, // without a queue it is returned, not dropped; a second net under the alternate exchange
        immediate: false, // RabbitMQ knows it no longer
    };
    let confirmed = async {
        let confirm = channel.basic_publish(exchange, routing_key, options, &body, properties).await?;
        confirm.await
    };
    // lapin may never answer once the server is shutting down (lapin#409), and stops writing during an alarm.
    let outcome = match tokio::time::timeout(CONFIRM_TIMEOUT, confirmed).await {
        Ok(Ok(Confirmation::Ack(None))) => Outcome::Confirmed,
        Ok(Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)))) => {
            Outcome::Returned(returned.into())
        }
        Ok(Ok(Confirmation::Nack(None))) => Outcome::Refused,
        Ok(Ok(Confirmation::NotRequested)) => Outcome::Unconfirmed,
        Ok(Err(error)) => Outcome::Failed(error),
        Err(_) => Outcome::Late,
    };
    Flown { answer, message_id, bytes: body.len(), outcome }
}

/// How large a message the broker takes, learnt from what it took and what it closed the channel for.
///
/// RabbitMQ does not tell its `max_message_size` (16 MiB since 4.0, 128 MiB before), and answers a larger message by
/// closing the channel, which leaves every other publish in flight unknown. So that happens once, not with each repeat.
#[derive(Debug, Default)]
pub(super) struct SizeLimit {
    /// The largest body admitted.
    tried: Cell<usize>,
    /// The largest body confirmed.
    taken: usize,
    /// The smallest body known to be too large.
    too_large: Option<usize>,
}

impl SizeLimit {
    /// Why the message cannot be sent, if it cannot.
    pub(super) fn refuses(&self, header_bytes: usize, bytes: usize, frame_max: usize) -> Option<String> {
        if header_bytes > frame_max {
            return Some(format!("about {header_bytes} bytes of headers do not fit one frame"));
        }
        if self.too_large.is_some_and(|limit| bytes >= limit) {
            return Some(format!("RabbitMQ's max_message_size is less than {bytes} bytes"));
        }
        self.tried.set(self.tried.get().max(bytes));
        None
    }

    /// A body of this size was confirmed.
    pub(super) fn was_taken(&mut self, bytes: usize) {
        self.taken = self.taken.max(bytes);
    }

    /// The link ended with this reply code, if with any: for a message that was too large, if none that large was ever confirmed.
    pub(super) fn was_lost_with(&mut self, reply_code: Option<u16>) {
        /// What the broker closes the channel with; nothing else that we send can cause it on this channel.
        const PRECONDITION_FAILED: u16 = 406;
        let tried = self.tried.get();
        if reply_code == Some(PRECONDITION_FAILED) && tried > self.taken {
            tracing::error!(
                bytes = tried,
                "a message is larger than RabbitMQ's max_message_size; see its configuration"
            );
            self.too_large = Some(self.too_large.map_or(tried, |limit| limit.min(tried)));
            self.tried.set(self.taken);
        }
    }
}
