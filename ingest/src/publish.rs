//! Publish: makes the event durable. Accept: says so to the claims, and then to the sender.

use std::time::Duration;

use tidegate_shared::claims::Claims;
use tidegate_shared::event::{Event, EventId, RequestId};
use tidegate_shared::protocol::{AfterPublish, after_publish};
use tidegate_shared::queue::{PublishError, Publisher, Stored};
use tidegate_shared::spool::{Spool, SpoolError};
use tidegate_shared::telemetry::chain;

use crate::claim::ClaimedEvent;
use crate::spool::SpooledEvent;

/// An event that the queue has confirmed. Built only by [`ClaimedEvent::publish`].
#[derive(Debug)]
pub struct PublishedEvent(ClaimedEvent);

/// What the queue said of an event that is durable.
#[derive(Debug)]
pub enum Publish {
    /// It is durable now.
    Published(PublishedEvent),
    /// It is durable on this machine, and will be published later.
    Spooled(SpooledEvent),
    /// It was durable before.
    AlreadyAccepted(Accepted),
    /// Another event with its id was durable before; this one is not stored.
    Conflict(ClaimedEvent),
}

/// The event is not known to be durable.
#[derive(Debug)]
pub struct PublishFailure {
    /// The claim, to be released.
    pub claimed: ClaimedEvent,
    /// Why; "unknown" is kept apart from "not kept".
    pub error: PublishError,
    /// Why it is not in the spool either, if it was to be.
    pub spool: Option<SpoolError>,
}

/// The event is durable: the only value that becomes a 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    first_time: bool,
    event_id: EventId,
    request_id: RequestId,
    /// How many events it stands for, where one request holds several.
    events: Option<usize>,
}

impl Accepted {
    /// For an event that was read as durable in the claims or the queue.
    pub(crate) fn duplicate(event: &Event) -> Self {
        Self { first_time: false, event_id: event.id.clone(), request_id: event.request_id.clone(), events: None }
    }

    /// For an event that is in the spool: since now, or since before.
    pub(crate) fn spooled(event: &Event, first_time: bool) -> Self {
        Self { first_time, ..Self::duplicate(event) }
    }

    /// For a request all of whose events are durable, under the id that stands for all of them.
    pub(crate) fn all(event_id: EventId, request_id: RequestId, events: &[Self]) -> Self {
        let first_time = events.is_empty() || events.iter().any(|event| event.first_time);
        Self { first_time, event_id, request_id, events: Some(events.len()) }
    }

    /// How many events it stands for, where one request holds several.
    #[must_use]
    pub fn events(&self) -> Option<usize> {
        self.events
    }

    /// `accepted` or `duplicate`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.first_time { "accepted" } else { "duplicate" }
    }

    /// The provider's id of the event.
    #[must_use]
    pub fn event_id(&self) -> &EventId {
        &self.event_id
    }

    /// The request that is answered.
    #[must_use]
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }
}

impl ClaimedEvent {
    /// Publishes the event and waits for the queue's confirm, at most `deadline`; without one, its source may have it
    /// kept in `spool`.
    ///
    /// # Errors
    /// [`PublishFailure`] gives the claim back: a 2xx is out of reach.
    pub(crate) async fn publish(
        self,
        publisher: &Publisher,
        deadline: Duration,
        spool: Option<&Spool>,
    ) -> Result<Publish, PublishFailure> {
        let stored = publisher.publish(&self.event, self.source.config.dedup_window, deadline).await;
        let outcome = match &stored {
            Ok(Stored::New) => "confirmed",
            Ok(Stored::Duplicate) => "duplicate",
            Ok(Stored::OtherBody) => "conflict",
            Err(PublishError::Unavailable(_)) => "unavailable",
            Err(PublishError::Refused(_)) => "refused",
            Err(PublishError::OutcomeUnknown(_)) => "unknown",
        };
        self.source.counts.publish.count(outcome);
        match after_publish(stored, self.source.config.on_broker_down) {
            AfterPublish::Accept => Ok(Publish::Published(PublishedEvent(self))),
            AfterPublish::AnswerDuplicate => Ok(Publish::AlreadyAccepted(Accepted::duplicate(&self.event))),
            AfterPublish::Separate => Ok(Publish::Conflict(self)),
            AfterPublish::Spool(error) => match spool {
                Some(spool) => self.spool(spool, error).await,
                // The embedded queue is on this machine's disk itself.
                None => Err(PublishFailure { claimed: self, error, spool: None }),
            },
            AfterPublish::Refuse(error) => Err(PublishFailure { claimed: self, error, spool: None }),
        }
    }
}

impl PublishedEvent {
    /// Marks the event as durable, so that its twins are answered without the queue.
    ///
    /// A failure is logged and counted, and the sender still reads 2xx: the event is durable.
    pub(crate) async fn accept(self, claims: &Claims) -> Accepted {
        let ClaimedEvent { event, source, .. } = self.0;
        let marked = claims.accept(&event.key, event.known_by(), source.config.dedup_window).await;
        let outcome = if marked.is_ok() { "marked" } else { "unmarked" };
        source.counts.accept.count(outcome);
        if let Err(error) = marked {
            tracing::debug!(error = %chain(&error), event_id = %event.id, "an accepted event is not marked in the claims");
        }
        Accepted { first_time: true, ..Accepted::duplicate(&event) }
    }
}
