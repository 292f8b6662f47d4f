//! What the ledger tells: how events stand, and the dead letters.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::HandlerSteps;
use crate::event::{HandlerName, SourceName};
use crate::wire::{Progress, WireMessage};

/// The status of an event, or of one handler's part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Durable, and not handled yet (or wanted by no handler).
    Accepted,
    /// Every handler that wants it has applied it.
    Applied,
    /// Every handler that wants it is done with it, and at least one had to undo what it did.
    Compensated,
    /// At least one handler failed and will try again.
    Retrying,
    /// At least one handler gave up.
    Dead,
}

impl Status {
    /// Every status, in the order of an event's life.
    pub const ALL: [Self; 5] = [Self::Accepted, Self::Applied, Self::Compensated, Self::Retrying, Self::Dead];

    /// The word that stands for it in lists and filters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Applied => "applied",
            Self::Compensated => "compensated",
            Self::Retrying => "retrying",
            Self::Dead => "dead",
        }
    }
}

/// An event as `tidegate events` lists it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventRow {
    /// The provider's id.
    pub event_id: String,
    /// The source's name.
    pub source: String,
    /// The provider's type.
    pub event_type: String,
    /// When the door received it.
    pub received_at: Timestamp,
    /// Over all its handlers.
    pub status: Status,
    /// Each handler's part, by name.
    pub handlers: Vec<HandlerStatus>,
    /// The event's key, in hexadecimal.
    pub key: String,
    /// The request that brought it.
    pub request_id: String,
    /// Where the page after this row begins.
    #[serde(skip)]
    pub cursor: i64,
}

/// One handler's part in an event.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HandlerStatus {
    /// The handler's name.
    pub handler: String,
    /// How far it is.
    pub status: Status,
    /// Attempts made so far.
    pub attempts: u32,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of this source only.
    pub source: Option<SourceName>,
    /// With this status only.
    pub status: Option<Status>,
}

/// A page of a list: newest first.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Rows at most; never more than [`PAGE_MAX`](super::PAGE_MAX).
    pub limit: u32,
    /// The cursor of the last row of the page before.
    pub after: Option<i64>,
}

/// A failed attempt as an operator reads it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AttemptRow {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it failed.
    pub at: Timestamp,
    /// Why.
    pub error: String,
}

/// An event with its whole story.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventDetail {
    /// What the list shows.
    #[serde(flatten)]
    pub row: EventRow,
    /// Failed attempts by handler.
    pub failed_attempts: Vec<HandlerAttempts>,
    /// Recorded steps by handler.
    pub steps: Vec<HandlerSteps>,
    /// `Content-Type` as received.
    pub content_type: Option<String>,
    /// Headers and body, where the event log kept them.
    #[serde(skip)]
    pub content: Option<Content>,
}

/// The failed attempts of one handler.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HandlerAttempts {
    /// The handler's name.
    pub handler: String,
    /// In order.
    pub attempts: Vec<AttemptRow>,
}

/// Headers and body of an event.
#[derive(Debug, Clone)]
pub struct Content {
    /// As [`WireMessage::header_block`] wrote them.
    pub headers: Vec<(String, Bytes)>,
    /// The raw body.
    pub body: Bytes,
}

/// A dead letter as `tidegate dead list` lists it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeadLetterRow {
    /// Its own id.
    pub id: String,
    /// Who gave up.
    pub handler: String,
    /// The source, where the message could be read.
    pub source: Option<String>,
    /// The provider's id, where the message could be read.
    pub event_id: Option<String>,
    /// The provider's type.
    pub event_type: String,
    /// Why.
    pub reason: String,
    /// Attempts made.
    pub attempts: u32,
    /// When it was given up.
    pub dead_at: Timestamp,
    /// Where the page after this row begins.
    #[serde(skip)]
    pub cursor: i64,
}

/// What became of a dead letter. Only a dead one is listed, replayed and discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadLetterStatus {
    /// Given up, and waiting for an operator.
    Dead,
    /// Back in its handler's queue.
    Replayed,
    /// Applied in the end.
    Delivered,
    /// Given up for good.
    Discarded,
}

impl DeadLetterStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Dead, Self::Replayed, Self::Delivered, Self::Discarded];

    /// The word that stands for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Replayed => "replayed",
            Self::Delivered => "delivered",
            Self::Discarded => "discarded",
        }
    }
}

/// A dead letter with its message and every attempt.
#[derive(Debug, Clone)]
pub struct DeadLetterDetail {
    /// What the list shows.
    pub row: DeadLetterRow,
    /// What became of it.
    pub status: DeadLetterStatus,
    /// The message as it was: headers and body.
    pub message: WireMessage,
    /// How far it had come.
    pub progress: Progress,
    /// Every failed attempt, in order.
    pub failed_attempts: Vec<AttemptRow>,
}

/// Which dead letters to list, replay or discard. Empty means all.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Only these.
    pub ids: Vec<String>,
    /// Of this handler.
    pub handler: Option<HandlerName>,
    /// Of this source.
    pub source: Option<SourceName>,
    /// Given up at or after.
    pub since: Option<Timestamp>,
    /// Given up before.
    pub until: Option<Timestamp>,
}

/// How many dead letters of one handler and source a filter meets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadLetterCount {
    /// The handler.
    pub handler: String,
    /// The source, where known.
    pub source: Option<String>,
    /// How many.
    pub count: u64,
}

/// The status of an event from its handlers' parts: the worst one counts, and all must be done with it.
#[must_use]
pub fn overall_status(handlers: &[HandlerStatus]) -> Status {
    let any = |status| handlers.iter().any(|handler| handler.status == status);
    if any(Status::Dead) {
        Status::Dead
    } else if any(Status::Retrying) {
        Status::Retrying
    } else if handlers.is_empty() || any(Status::Accepted) {
        Status::Accepted
    } else if any(Status::Compensated) {
        Status::Compensated
    } else {
        Status::Applied
    }
}
