//! Steps of handlers that call external systems: each recorded with its result, so that a retry resumes.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::row::Row;
use super::{Ledger, LedgerUnavailable, Statement, list, story};
use crate::event::{Event, EventKey, HandlerName};

/// A step that is over, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StepRecord {
    /// The step's name, unique within its handler.
    pub step: Cow<'static, str>,
    /// Whether it undid the step of this name.
    pub undo: bool,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: StepOutcome,
    /// When, to the millisecond.
    pub at: Timestamp,
    /// At which attempt of the handler, from 1.
    pub attempt: u32,
}

/// How a step ended. One that may still succeed has no record.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum StepOutcome {
    /// It was done, once.
    Done {
        /// What it answered; a retry reads it here.
        result: Json,
    },
    /// The external system refused it for good.
    Rejected {
        /// Why, in words for an operator.
        reason: String,
    },
}

/// The steps of one handler for one event.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HandlerSteps {
    /// The handler's name.
    pub handler: String,
    /// In the order in which they were recorded.
    pub steps: Vec<StepRecord>,
}

/// A step's columns, as its table has them.
#[derive(Debug)]
pub(super) struct StepColumns<'a> {
    pub(super) step: &'a str,
    pub(super) undo: i64,
    pub(super) outcome: &'static str,
    pub(super) result: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) attempt: i64,
    pub(super) at: i64,
}

impl StepRecord {
    pub(super) fn columns(&self) -> StepColumns<'_> {
        let (outcome, result, reason) = match &self.outcome {
            StepOutcome::Done { result } => ("done", Some(result.to_string()), None),
            StepOutcome::Rejected { reason } => ("rejected", None, Some(story::storable(reason))),
        };
        StepColumns {
            step: &self.step,
            undo: self.undo.into(),
            outcome,
            result,
            reason,
            attempt: self.attempt.into(),
            at: self.at.as_millisecond(),
        }
    }
}

impl Ledger {
    /// Keeps a step, and answers with what stands there now: the first record of a step wins, and whoever raced with
    /// its writer goes on with that one's result.
    ///
    /// # Errors
    /// If the ledger cannot be reached; the step may be kept all the same.
    pub async fn record_step(
        &self,
        event: Arc<Event>,
        handler: HandlerName,
        record: StepRecord,
    ) -> Result<StepRecord, LedgerUnavailable> {
        // An update that changes nothing, because only so the row that stands there is returned.
        let sql = "INSERT INTO steps (event_key, handler, step, undo, outcome, result, reason, attempt, at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                   ON CONFLICT (event_key, handler, step, undo) DO UPDATE SET outcome = steps.outcome
                   RETURNING event_key, handler, step, undo, outcome, result, reason, attempt, at";
        let rows = self.returning(insert(sql, &event.key, handler.as_str(), &record)).await?;
        let row = rows.first().ok_or_else(|| LedgerUnavailable("a step's record did not come back".to_owned()))?;
        Ok(recorded(row)?.record)
    }

    /// The steps that the handler recorded for the event, in the order in which they were recorded.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn steps(&self, event: EventKey, handler: HandlerName) -> Result<Vec<StepRecord>, LedgerUnavailable> {
        let rows = self.query(list::steps_of(&event, handler.as_str())).await?;
        rows.iter().map(|row| Ok(recorded(row)?.record)).collect()
    }
}

/// A step and whose it is.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) key: Vec<u8>,
    pub(super) handler: String,
    pub(super) record: StepRecord,
}

/// Reads a row of [`list::steps`].
pub(super) fn recorded(row: &Row) -> Result<Recorded, LedgerUnavailable> {
    let outcome = match row.maybe_text(5)? {
        Some(result) if row.text(4)? == "done" => {
            let unreadable = |error| LedgerUnavailable(format!("a step's result is not JSON: {error}"));
            StepOutcome::Done { result: serde_json::from_str(&result).map_err(unreadable)? }
        }
        Some(_) | None => StepOutcome::Rejected { reason: row.maybe_text(6)?.unwrap_or_default() },
    };
    let record = StepRecord {
        step: row.text(2)?.into(),
        undo: row.number(3)? != 0,
        outcome,
        at: row.moment(8)?,
        attempt: row.count(7)?,
    };
    Ok(Recorded { key: row.bytes(0)?, handler: row.text(1)?, record })
}

/// A step's row, for the transaction of its inbox row.
///
/// Where one stands already it must say the same: else another worker took the other way (it undoes what this one would
/// commit), and the outcome becomes NULL, which the column refuses. The next attempt follows the record.
pub(super) fn keep(event: &EventKey, handler: &str, record: &StepRecord) -> Statement {
    let sql = "INSERT INTO steps (event_key, handler, step, undo, outcome, result, reason, attempt, at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
               ON CONFLICT (event_key, handler, step, undo) DO UPDATE
               SET outcome = CASE WHEN steps.outcome = excluded.outcome THEN steps.outcome END";
    insert(sql, event, handler, record)
}

fn insert(sql: &'static str, event: &EventKey, handler: &str, record: &StepRecord) -> Statement {
    let StepColumns { step, undo, outcome, result, reason, attempt, at } = record.columns();
    let params = vec![
        event.as_bytes().as_slice().into(),
        handler.into(),
        step.into(),
        undo.into(),
        outcome.into(),
        result.into(),
        reason.into(),
        attempt.into(),
        at.into(),
    ];
    Statement { sql: sql.into(), params }
}
