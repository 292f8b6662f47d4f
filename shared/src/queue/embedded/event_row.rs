//! An event as its row in the embedded store holds it, its claim among the rest.

use bytes::Bytes;
use rusqlite::{Connection, params};

use crate::event::{BodyHash, Event, EventId, EventKey, EventType, HandlerName, RequestId, SourceName};
use crate::queue::Stored;
use crate::wire::first_header_block;

/// An event as its row holds it.
pub(super) struct EventRow {
    key: EventKey,
    source: SourceName,
    id: EventId,
    event_type: EventType,
    received_at: i64,
    request_id: RequestId,
    handlers: String,
    content_type: Option<String>,
    headers: Vec<u8>,
    body: Bytes,
    fingerprint: BodyHash,
    claimed_until: Option<i64>,
}

impl EventRow {
    pub(super) fn new(event: &Event, handlers: &[HandlerName], claimed_until: Option<i64>) -> Self {
        Self {
            key: event.key,
            source: event.source.clone(),
            id: event.id.clone(),
            event_type: event.event_type.clone(),
            received_at: event.received_at.as_millisecond(),
            request_id: event.request_id.clone(),
            handlers: handlers.iter().map(HandlerName::as_str).collect::<Vec<_>>().join(","),
            content_type: event.content_type.clone(),
            headers: first_header_block(event),
            body: event.body.clone(),
            fingerprint: *event.known_by(),
            claimed_until,
        }
    }

    /// Inserts it, and says its number; `None` if an event stands there with its key.
    pub(super) fn insert(&self, tx: &Connection) -> rusqlite::Result<Option<i64>> {
        let inserted = tx
            .prepare_cached(
                "INSERT INTO events
                     (event_key, source, event_id, event_type, received_at, request_id, handlers, content_type, headers,
                      body, fingerprint, claimed_until)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (event_key) DO NOTHING",
            )?
            .execute(params![
                self.key.as_bytes(),
                self.source.as_str(),
                self.id.as_str(),
                self.event_type.as_str(),
                self.received_at,
                self.request_id.as_str(),
                self.handlers,
                self.content_type,
                self.headers,
                &self.body[..],
                self.fingerprint.as_bytes(),
                self.claimed_until,
            ])?;
        Ok((inserted == 1).then(|| tx.last_insert_rowid()))
    }

    /// The number of the event that stands there with its key.
    pub(super) fn seq(&self, tx: &Connection) -> rusqlite::Result<i64> {
        tx.prepare_cached("SELECT seq FROM events WHERE event_key = ?1")?
            .query_row([self.key.as_bytes()], |row| row.get(0))
    }

    /// Claims the event that stands there with its key. Whatever a claim says: another body is another event.
    ///
    /// One whose claim has ended is claimed anew and not stored again: its jobs were stored with it, and the inbox knows
    /// what was applied.
    pub(super) fn claim_again(&self, tx: &Connection, now: i64) -> rusqlite::Result<Stored> {
        let (is_same, claimed_until): (bool, Option<i64>) = tx
            .prepare_cached("SELECT COALESCE(fingerprint = ?2, 1), claimed_until FROM events WHERE event_key = ?1")?
            .query_row(params![self.key.as_bytes(), self.fingerprint.as_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        match (is_same, claimed_until) {
            (false, _) => Ok(Stored::OtherBody),
            (true, Some(until)) if until > now => Ok(Stored::Duplicate),
            (true, _) => {
                tx.prepare_cached("UPDATE events SET claimed_until = ?2 WHERE event_key = ?1")?
                    .execute(params![self.key.as_bytes(), self.claimed_until])?;
                Ok(Stored::New)
            }
        }
    }
}
