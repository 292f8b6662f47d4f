//! The ledger: what was applied, what failed, what is dead, and every event's story.
//!
//! Exactly-once is enforced here and nowhere else: the inbox row of `(handler, event key, epoch)` and the effects of
//! that handler for that event commit in one transaction. Two adapters: [`postgres`] and [`embedded`].
//!
//! No part of an event is both applied and dead: a dead letter is not kept for what is applied, and applying heals the
//! dead letter that a crash between its commit and the acknowledgement left behind. Discarding a dead letter leaves a
//! stone in the inbox, so that no later delivery applies what an operator gave up for good.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::event::{Event, HandlerName, SourceName};
use crate::health::HealthCell;
use crate::wire::{Progress, WireMessage};

mod effects;
mod grant;
mod keep;
mod keyed;
mod list;
mod pending;
mod read;
mod row;
mod statement;
mod step;
mod story;
mod sweep;
mod version;

pub mod embedded;
pub mod postgres;

#[cfg(test)]
mod tests;

pub use effects::{Effects, Ending, Statement, Value};
pub use grant::Grant;
pub use keyed::{BeginKeyed, Begun, FinishKeyed, KeptAnswer};
pub use pending::Pending;
pub use step::{HandlerSteps, StepOutcome, StepRecord};
pub use sweep::Swept;

use read::Follow;
use row::Row;

/// Schema version that this build reads and writes.
pub const SCHEMA_VERSION: i32 = 3;
/// Rows of one page at most, whatever its limit says.
pub const PAGE_MAX: u32 = 1_000;

/// A migration of a handler's own tables. Run once, in order of version, before the handler's first event.
#[derive(Debug, Clone)]
pub struct Migration {
    /// Unique over all handlers: `payments/1`.
    pub id: &'static str,
    /// Statements that both `PostgreSQL` and SQLite read.
    pub sql: &'static str,
}

/// One event's effects of one handler, ready to commit.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Whose effects.
    pub handler: HandlerName,
    /// Of which event.
    pub event: Arc<Event>,
    /// Of which attempt.
    pub progress: Progress,
    /// The effects.
    pub effects: Effects,
    /// Names of the handlers that want the event, separated by commas; kept if the event log has no row of it yet.
    pub wanted_by: Arc<str>,
}

/// What became of one [`Commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The effects were applied now.
    Now,
    /// They had been applied before, or were discarded by an operator; nothing else happened.
    Before,
    /// Another event had been applied under this key: it has to be committed as [`Event::into_conflict`].
    OtherBody,
}

/// What became of a [`DeadLetter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is kept, or need not be: the event was applied or discarded before.
    Done,
    /// Another event had been applied under this key: it has to be kept as [`DeadLetter::into_conflict`].
    OtherBody,
}

/// Why effects were not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The ledger cannot be reached or is shutting down; nothing is wrong with the event. Try again later.
    #[error("the ledger is not available: {0}")]
    Unavailable(String),
    /// The database refused this event's own statements; a constraint, a missing table, a wrong type.
    #[error("the database refused the effects: {0}")]
    Refused(String),
    /// The same, because there is a row with this key already.
    #[error("the database has it already: {0}")]
    Duplicate(String),
}

/// The ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the ledger is not available: {0}")]
pub struct LedgerUnavailable(pub String);

/// A failed attempt, kept for the event's story.
#[derive(Debug, Clone)]
pub struct FailedAttempt {
    /// Who tried.
    pub handler: HandlerName,
    /// What.
    pub event: Arc<Event>,
    /// Which attempt it was.
    pub progress: Progress,
    /// When.
    pub at: Timestamp,
    /// Why it failed, in words for an operator.
    pub error: String,
    /// As in [`Commit::wanted_by`].
    pub wanted_by: Arc<str>,
}

/// A delivery that is given up, with all that is needed to look at it and to replay it.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Who gave up.
    pub handler: HandlerName,
    /// The event, where the message could be read as one.
    pub event: Option<Arc<Event>>,
    /// How far it had come.
    pub progress: Progress,
    /// The message as it was.
    pub message: WireMessage,
    /// Why, in words for an operator.
    pub reason: String,
    /// When.
    pub dead_at: Timestamp,
    /// As in [`Commit::wanted_by`]; empty where the message could not be read.
    pub wanted_by: Arc<str>,
}

impl DeadLetter {
    /// The same, of the event under the key that tells it from the one that was applied.
    #[must_use]
    pub fn into_conflict(self) -> Self {
        let Some(event) = self.event else { return self };
        let event = Event::clone(&event).into_conflict();
        let message = WireMessage { message_id: event.key.to_string(), ..self.message };
        Self { event: Some(Arc::new(event)), message, ..self }
    }
}

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
    /// Rows at most; never more than [`PAGE_MAX`].
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

/// The port, with its two adapters.
#[derive(Debug, Clone)]
pub enum Ledger {
    /// In the embedded store.
    Embedded(embedded::EmbeddedLedger),
    /// In `PostgreSQL`.
    Postgres(postgres::PostgresLedger),
}

/// Writes each method of the port once: the adapters have the same ones.
macro_rules! port {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        impl Ledger {$(
            $(#[$doc])*
            $vis async fn $name(&self, $($arg: $ty),*) -> $ret {
                match self {
                    Self::Embedded(ledger) => ledger.$name($($arg),*).await,
                    Self::Postgres(ledger) => ledger.$name($($arg),*).await,
                }
            }
        )*}
    };
}

port! {
    /// Brings the tables of Tidegate and of its handlers up to date. Safe to run from many processes at once.
    ///
    /// # Errors
    /// If the ledger cannot be reached, or a migration fails: the reason names it.
    pub fn migrate(migrations: &[Migration]) -> Result<(), LedgerUnavailable>;

    /// Commits effects, each together with its inbox row, many in one transaction where that works.
    ///
    /// The answers stand in the order of `commits`. One event's bad statements never keep another's from committing.
    pub fn commit(commits: Vec<Commit>) -> Vec<Result<Applied, CommitError>>;

    /// Keeps a failed attempt. Keeping the same one again changes nothing.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub fn record_attempt(attempt: FailedAttempt) -> Result<(), LedgerUnavailable>;

    /// Keeps a dead letter (and its last attempt's error). Keeping the same one again changes nothing; one that was
    /// replayed and died again, at a later attempt, is dead again under its id. An unreadable message has no attempts
    /// to tell a replay from a redelivery by, so each time it is met counts as one more attempt.
    ///
    /// Nothing is kept of what is applied already, or was discarded.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub fn dead_letter(dead: DeadLetter) -> Result<Kept, LedgerUnavailable>;

    /// Keeps an event that no handler wants in the event log.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub fn log_unrouted(event: Arc<Event>) -> Result<(), LedgerUnavailable>;

    /// Takes dead letters off the list for good, and says how many. Their events are never applied: the handler's part
    /// in them stays dead, however often they are delivered again.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub fn discard(filter: DeadLetterFilter) -> Result<u64, LedgerUnavailable>;

    /// Reads rows.
    fn query(statement: Statement) -> Result<Vec<Row>, LedgerUnavailable>;

    /// Reads rows, then what is to be known about them, from one state of the database.
    fn query_on(first: Statement, follow: Follow) -> Result<Vec<Vec<Row>>, LedgerUnavailable>;

    /// Runs a statement and says how many rows it changed.
    fn change(statement: Statement) -> Result<u64, LedgerUnavailable>;

    /// Runs a statement that changes rows, and reads those that it returns.
    fn returning(statement: Statement) -> Result<Vec<Row>, LedgerUnavailable>;

    /// Runs the effects in the transaction of a statement of our own, unless that changes no row: then nothing
    /// happens, and the answer is `false`. The effects are to be checked before.
    fn guarded(guard: Statement, effects: Vec<Statement>) -> Result<bool, CommitError>;
}

impl Ledger {
    /// The ledger's state.
    #[must_use]
    pub fn health(&self) -> &HealthCell {
        match self {
            Self::Embedded(ledger) => ledger.health(),
            Self::Postgres(ledger) => ledger.health(),
        }
    }

    /// Marks a dead letter as replayed: only after the queue has its message. `attempts` are those of the row that was
    /// replayed: the replay may have died again before this call, and must then stay on the list.
    ///
    /// `false` if it is not dead any more, or dead again.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn mark_replayed(&self, id: String, attempts: u32) -> Result<bool, LedgerUnavailable> {
        Ok(self.change(keep::mark_replayed(&id, attempts)).await? == 1)
    }
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
