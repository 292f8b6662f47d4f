//! The ledger: what was applied, what failed, what is dead, and every event's story.
//!
//! Exactly-once is enforced here and nowhere else: the inbox row of `(handler, event key, epoch)` and the effects of
//! that handler for that event commit in one transaction. Two adapters: [`postgres`] and [`embedded`].
//!
//! No part of an event is both applied and dead: a dead letter is not kept for what is applied, and applying heals the
//! dead letter that a crash between its commit and the acknowledgement left behind. Discarding a dead letter leaves a
//! stone in the inbox, so that no later delivery applies what an operator gave up for good.

use std::sync::Arc;

use jiff::Timestamp;

use crate::event::{Event, HandlerName};
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
mod view;

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
pub use view::{
    AttemptRow, Content, DeadLetterCount, DeadLetterDetail, DeadLetterFilter, DeadLetterRow, DeadLetterStatus,
    EventDetail, EventFilter, EventRow, HandlerAttempts, HandlerStatus, Page, Status, overall_status,
};

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
