//! Decode: turns a delivery into an event, or into a dead letter.

use std::sync::Arc;

use tidegate_shared::event::{Event, HandlerName};
use tidegate_shared::queue::{Delivery, Ticket};
use tidegate_shared::wire::{DecodeError, Message, Progress, WireMessage};

/// A delivery as the queue gave it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) handler: HandlerName,
    pub(crate) delivery: Delivery,
}

/// A delivery that holds an event.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) handler: HandlerName,
    pub(crate) event: Arc<Event>,
    pub(crate) progress: Progress,
    pub(crate) wire: WireMessage,
    pub(crate) ticket: Ticket,
}

/// A delivery that does not.
#[derive(Debug)]
pub(crate) struct Undecodable {
    pub(crate) handler: HandlerName,
    pub(crate) wire: WireMessage,
    pub(crate) error: DecodeError,
    pub(crate) ticket: Ticket,
}

impl Decoded {
    /// The same event under the key that tells it from the one with its id that was applied.
    pub(crate) fn into_conflict(self) -> Self {
        note_conflict(&self.handler, &self.event);
        let event = Event::clone(&self.event).into_conflict();
        let wire = WireMessage { message_id: event.key.to_string(), ..self.wire };
        Self { event: Arc::new(event), wire, ..self }
    }
}

/// Tells of an event whose id another one has had, which the door did not notice.
pub(crate) fn note_conflict(handler: &HandlerName, event: &Event) {
    tracing::warn!(
        %handler, source = %event.source, event_id = %event.id, request_id = %event.request_id,
        "an event has an id under which another body was applied; it is handled as an event of its own"
    );
    metrics::counter!("tidegate_inbox_conflicts_total", "handler" => handler.to_string()).increment(1);
}

impl Received {
    /// Reads the message.
    ///
    /// # Errors
    /// [`Undecodable`], to become a dead letter: trying again would not make it readable.
    pub(crate) fn decode(self) -> Result<Decoded, Box<Undecodable>> {
        let Self { handler, delivery: Delivery { message: wire, ticket, .. } } = self;
        let decoded = Message::decode(&wire);
        let outcome = if decoded.is_ok() { "decoded" } else { "undecodable" };
        metrics::counter!("tidegate_decode_total", "handler" => handler.to_string(), "outcome" => outcome).increment(1);
        match decoded {
            Ok(Message { event, progress }) => Ok(Decoded { handler, event: Arc::new(event), progress, wire, ticket }),
            Err(error) => Err(Box::new(Undecodable { handler, wire, error, ticket })),
        }
    }
}
