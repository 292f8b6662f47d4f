//! The ledger's rows as the document shows them.
//!
//! `shared` knows no OpenAPI, so each row that the admin API answers has its shape here once more; a test holds them to
//! the real ones.
#![expect(dead_code, reason = "only the document reads these shapes")]

use serde_json::Value;
use utoipa::ToSchema;

/// An event.
#[derive(ToSchema)]
pub(crate) struct EventRow {
    /// The provider's id.
    event_id: String,
    /// The source's name.
    source: String,
    /// The provider's type.
    event_type: String,
    /// When the door received it.
    #[schema(format = DateTime)]
    received_at: String,
    /// Over all its handlers: the worst counts.
    status: Status,
    /// Each handler's part, by name.
    handlers: Vec<HandlerStatus>,
    /// The event's key, in hexadecimal.
    key: String,
    /// The request that brought it.
    request_id: String,
}

/// The status of an event, or of one handler's part in it.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Status {
    Accepted,
    Applied,
    Compensated,
    Retrying,
    Dead,
}

/// One handler's part in an event.
#[derive(ToSchema)]
struct HandlerStatus {
    /// The handler's name.
    handler: String,
    /// How far it is.
    status: Status,
    /// Attempts made so far.
    attempts: u32,
}

/// What is known of an event beside its row.
#[derive(ToSchema)]
pub(crate) struct EventDetail {
    #[schema(inline)]
    #[serde(flatten)]
    row: EventRow,
    /// Failed attempts by handler.
    failed_attempts: Vec<HandlerAttempts>,
    /// Recorded steps by handler.
    steps: Vec<HandlerSteps>,
    /// `Content-Type` as received.
    content_type: Option<String>,
}

/// The failed attempts of one handler.
#[derive(ToSchema)]
struct HandlerAttempts {
    /// The handler's name.
    handler: String,
    /// In order.
    attempts: Vec<AttemptRow>,
}

/// A failed attempt.
#[derive(ToSchema)]
pub(crate) struct AttemptRow {
    /// Its number, from 1.
    attempt: u32,
    /// When it failed.
    #[schema(format = DateTime)]
    at: String,
    /// Why.
    error: String,
}

/// The steps of one handler for one event.
#[derive(ToSchema)]
struct HandlerSteps {
    /// The handler's name.
    handler: String,
    /// In the order in which they were recorded.
    steps: Vec<StepRecord>,
}

/// A step that is over.
#[derive(ToSchema)]
struct StepRecord {
    /// The step's name.
    step: String,
    /// Whether it undid the step of this name.
    undo: bool,
    /// How it ended.
    outcome: StepOutcome,
    /// What it answered, if it was done.
    #[schema(required = false)]
    result: Value,
    /// Why it was refused, if it was.
    #[schema(required = false)]
    reason: String,
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// At which attempt of the handler, from 1.
    attempt: u32,
}

/// How a step ended.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum StepOutcome {
    Done,
    Rejected,
}

/// A dead letter.
#[derive(ToSchema)]
pub(crate) struct DeadLetterRow {
    /// Its own id.
    id: String,
    /// Who gave up.
    handler: String,
    /// The source, where the message could be read.
    source: Option<String>,
    /// The provider's id, where the message could be read.
    event_id: Option<String>,
    /// The provider's type.
    event_type: String,
    /// Why.
    reason: String,
    /// Attempts made.
    attempts: u32,
    /// When it was given up.
    #[schema(format = DateTime)]
    dead_at: String,
}

/// How many dead letters of one handler and source there are.
#[derive(ToSchema)]
pub(crate) struct DeadLetterCount {
    /// The handler.
    handler: String,
    /// The source, where known.
    source: Option<String>,
    /// How many.
    count: u64,
}
