//! One event's effects in the store's transaction, beside the inbox row that says they were applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, OptionalExtension as _, ToSql, ffi, params};

use crate::event::{BodyHash, Event};
use crate::ledger::{Applied, Commit, Statement, Value, keep, step, story};
use crate::protocol::is_another_event;

/// Whose statement failed: the handler's or our own. Told by the writer's thread to the one that waits.
#[derive(Debug, Clone, Default)]
pub(super) struct Blame(Arc<AtomicBool>);

impl Blame {
    pub(super) fn is_on_effects(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn put_on_effects(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Applies the effects unless they were applied before.
pub(super) fn apply(tx: &Connection, commit: &Commit, blame: &Blame) -> rusqlite::Result<Applied> {
    let Commit { handler, event, progress, effects, wanted_by } = commit;
    let fresh = tx
        .prepare_cached(
            "INSERT INTO inbox (event_key, handler, epoch, source, attempts, applied_at, outcome, fingerprint)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            event.key.as_bytes(),
            handler.as_str(),
            progress.epoch,
            event.source.as_str(),
            progress.attempt,
            Timestamp::now().as_millisecond(),
            effects.ending.outcome(),
            event.fingerprint.as_ref().map(BodyHash::as_bytes),
        ])?;
    if fresh == 0 {
        let found = found_in_inbox(tx, handler.as_str(), event, progress.epoch)?;
        return Ok(if found == Some(Found::OtherBody) { Applied::OtherBody } else { Applied::Before });
    }
    run_effects(tx, &effects.statements, blame)?;
    for record in &effects.steps {
        let record = step::keep(&event.key, handler.as_str(), record);
        run(tx, &record).inspect_err(|_| blame.put_on_effects())?;
    }
    // The queue wrote the event's row with its content when it took the event, so `archive` has nothing to add.
    log_event(tx, event, wanted_by)?;
    tx.prepare_cached(
        "UPDATE dead_letters SET status = 'delivered' WHERE dedupe_key = ?1 AND status IN ('dead', 'replayed')",
    )?
    .execute([story::dedupe_key(handler.as_str(), &event.key, progress.epoch)])?;
    if let Some(id) = &progress.replay_of {
        tx.prepare_cached(
            "UPDATE dead_letters SET status = 'delivered' WHERE id = ?1 AND status IN ('dead', 'replayed')",
        )?
        .execute([id])?;
    }
    Ok(Applied::Now)
}

/// Runs the effects if the guard changes a row, and says whether it did.
pub(super) fn guarded(
    tx: &Connection,
    guard: &Statement,
    effects: &[Statement],
    blame: &Blame,
) -> rusqlite::Result<bool> {
    if run(tx, guard)? == 0 {
        return Ok(false);
    }
    run_effects(tx, effects, blame)?;
    Ok(true)
}

fn run_effects(tx: &Connection, effects: &[Statement], blame: &Blame) -> rusqlite::Result<()> {
    effects.iter().try_for_each(|effect| run(tx, effect).map(drop).inspect_err(|_| blame.put_on_effects()))
}

/// What stands in the inbox under an event's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The event: applied by this handler, or discarded.
    Same,
    /// Another one with its id.
    OtherBody,
}

/// Looks for the event in the inbox.
pub(super) fn found_in_inbox(
    tx: &Connection,
    handler: &str,
    event: &Event,
    epoch: u32,
) -> rusqlite::Result<Option<Found>> {
    let row: Option<Option<Vec<u8>>> = tx
        .prepare_cached("SELECT fingerprint FROM inbox WHERE event_key = ?1 AND handler = ?2 AND epoch = ?3")?
        .query_row(params![event.key.as_bytes(), handler, epoch], |row| row.get(0))
        .optional()?;
    Ok(row.map(|fingerprint| {
        let applied = fingerprint.as_deref().and_then(BodyHash::from_bytes);
        if is_another_event(applied.as_ref(), event.fingerprint.as_ref()) { Found::OtherBody } else { Found::Same }
    }))
}

/// Writes the event's row unless it stands there, always with its content: the queue's jobs point to that row.
pub(super) fn log_event(tx: &Connection, event: &Event, wanted_by: &str) -> rusqlite::Result<()> {
    let stands = tx.prepare_cached("SELECT 1 FROM events WHERE event_key = ?1")?.exists([event.key.as_bytes()])?;
    if stands {
        return Ok(());
    }
    run(tx, &keep::event(event, wanted_by, Some(keep::content(event)))).map(drop)
}

/// Runs a statement to its end and says how many rows it changed.
pub(super) fn run(tx: &Connection, statement: &Statement) -> rusqlite::Result<u64> {
    let mut prepared = tx.prepare_cached(&statement.sql)?;
    bind(&mut prepared, &statement.params)?;
    let before = tx.total_changes();
    let mut rows = prepared.raw_query();
    while rows.next()?.is_some() {}
    Ok(tx.total_changes() - before)
}

/// Binds each value to its own number: SQLite itself counts `$2` as first where it stands first.
pub(super) fn bind(prepared: &mut rusqlite::Statement<'_>, values: &[Value]) -> rusqlite::Result<()> {
    if prepared.parameter_count() != values.len() {
        return Err(Error::InvalidParameterCount(values.len(), prepared.parameter_count()));
    }
    for (number, value) in (1..).zip(values) {
        let name = format!("${number}");
        let place = prepared.parameter_index(&name)?.ok_or(Error::InvalidParameterName(name))?;
        prepared.raw_bind_parameter(place, Bound(value))?;
    }
    Ok(())
}

struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Bool(truth) => ValueRef::Integer(i64::from(*truth)),
            Value::Float(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Says whether there is a row with this key already: <https://www.sqlite.org/rescode.html#constraint_unique>.
pub(super) fn is_duplicate(error: &Error) -> bool {
    let codes = [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CONSTRAINT_PRIMARYKEY];
    error.sqlite_error().is_some_and(|error| codes.contains(&error.extended_code))
}

/// SQLite's message without the statement that rusqlite adds to some.
pub(super) fn message(error: &Error) -> String {
    if let Error::SqlInputError { msg, .. } | Error::SqliteFailure(_, Some(msg)) = error {
        return msg.clone();
    }
    error.to_string()
}
