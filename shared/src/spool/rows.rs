//! The rows of a slot: what is written for a waiting event, and how it is read back.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{Row, Waiting};
use crate::event::{BodyHash, Event};
use crate::queue::Stored;
use crate::store::DATABASE;
use crate::wire::{Message, Progress, WireMessage, encode};

/// What a row takes besides its headers and its body, in bytes.
const ROW: usize = 512;
/// Bytes that one step of the drain reads into memory at most; a larger event goes alone.
const STEP_BYTES_MAX: u64 = 8 << 20;

/// An event as it is written down.
pub(super) struct New {
    event: Event,
    wire: WireMessage,
    window_ms: i64,
}

impl New {
    pub(super) fn of(event: &Event, window: Duration) -> Self {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        Self { event: event.clone(), wire: encode(event, &Progress::default()), window_ms }
    }

    /// What it takes of the bound.
    pub(super) fn bytes(&self) -> u64 {
        let headers: usize = self.wire.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        (self.wire.body.len() + headers + ROW) as u64
    }

    /// Writes it, unless it waits already.
    pub(super) fn insert(&self, tx: &Connection, now: i64) -> rusqlite::Result<Stored> {
        let Self { event, wire, window_ms } = self;
        let known: Option<Vec<u8>> = tx
            .prepare_cached("SELECT fingerprint FROM waiting WHERE event_key = ?1")?
            .query_row([event.key.as_bytes()], |row| row.get(0))
            .optional()?;
        if let Some(fingerprint) = known {
            let same = fingerprint == event.known_by().as_bytes();
            return Ok(if same { Stored::Duplicate } else { Stored::OtherBody });
        }
        tx.prepare_cached(
            "INSERT INTO waiting (event_key, source, event_id, event_type, fingerprint, window_ms, spooled_at, bytes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            event.key.as_bytes(),
            event.source.as_str(),
            event.id.as_str(),
            event.event_type.as_str(),
            event.known_by().as_bytes(),
            window_ms,
            now,
            i64::try_from(self.bytes()).unwrap_or(i64::MAX),
        ])?;
        tx.prepare_cached(
            "INSERT OR REPLACE INTO messages (id, content_type, timestamp, headers, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            tx.last_insert_rowid(),
            wire.content_type,
            i64::try_from(wire.timestamp).unwrap_or(i64::MAX),
            wire.header_block(),
            &wire.body[..],
        ])?;
        Ok(Stored::New)
    }
}

/// All that waits: events and bytes.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    connection.query_row("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM waiting", [], |row| {
        Ok((number(row.get(0)?), number(row.get(1)?)))
    })
}

/// What of the tally only the rows know.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heads {
    /// When the oldest event came.
    pub(super) oldest: Option<i64>,
    /// When the oldest event came that waits for the broker only.
    pub(super) oldest_first: Option<i64>,
    /// Events that wait behind the others.
    pub(super) behind: u64,
}

pub(super) fn heads(connection: &Connection) -> rusqlite::Result<Heads> {
    connection
        .prepare_cached(
            "SELECT (SELECT spooled_at FROM waiting ORDER BY id LIMIT 1), \
             (SELECT spooled_at FROM waiting WHERE tries = 0 ORDER BY id LIMIT 1), \
             (SELECT COUNT(*) FROM waiting WHERE tries > 0)",
        )?
        .query_row([], |row| Ok(Heads { oldest: row.get(0)?, oldest_first: row.get(1)?, behind: number(row.get(2)?) }))
}

/// The next events to publish: up to `width` of the oldest; if there are none, one of those behind whose time has come.
pub(super) fn next(connection: &Connection, width: usize, now: i64) -> rusqlite::Result<Vec<Waiting>> {
    let width = i64::try_from(width).unwrap_or(i64::MAX);
    let ids = "SELECT id, bytes FROM waiting WHERE tries = 0 ORDER BY id LIMIT ?1";
    let first: Vec<(i64, u64)> = connection
        .prepare_cached(ids)?
        .query_map([width], |row| Ok((row.get(0)?, number(row.get(1)?))))?
        .collect::<rusqlite::Result<_>>()?;
    let mut bytes = 0;
    let fits = first.iter().enumerate().take_while(|(at, (_, size))| {
        bytes += size;
        *at == 0 || bytes <= STEP_BYTES_MAX
    });
    let mut ids: Vec<i64> = fits.map(|(_, (id, _))| *id).collect();
    if ids.is_empty() {
        let behind = "SELECT id FROM waiting WHERE tries > 0 AND retry_at <= ?1 ORDER BY retry_at LIMIT 1";
        ids.extend(connection.prepare_cached(behind)?.query_row([now], |row| row.get::<_, i64>(0)).optional()?);
    }
    ids.into_iter().map(|id| waiting(connection, id)).collect()
}

fn waiting(connection: &Connection, id: i64) -> rusqlite::Result<Waiting> {
    let sql = "SELECT event_key, event_type, fingerprint, window_ms, tries, content_type, timestamp, headers, body \
               FROM waiting JOIN messages USING (id) WHERE id = ?1";
    connection.prepare_cached(sql)?.query_row([id], |row| {
        let wire = WireMessage {
            message_id: row.get::<_, Vec<u8>>(0)?.iter().map(|byte| format!("{byte:02x}")).collect(),
            event_type: row.get(1)?,
            content_type: row.get(5)?,
            timestamp: number(row.get(6)?),
            headers: WireMessage::headers_from_block(&row.get::<_, Vec<u8>>(7)?),
            body: Bytes::from(row.get::<_, Vec<u8>>(8)?),
        };
        // The message of an older build carries no fingerprint.
        let fingerprint = BodyHash::from_bytes(&row.get::<_, Vec<u8>>(2)?);
        let event = Message::decode(&wire).map(|message| Event { fingerprint, ..message.event });
        let window = Duration::from_millis(number(row.get(3)?));
        Ok(Waiting { id, event, window, tries: row.get(4)? })
    })
}

/// Takes an event out and says what it took of the bound; `None` if it is gone already.
pub(super) fn remove(tx: &Connection, id: i64) -> rusqlite::Result<Option<u64>> {
    tx.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([id])?;
    let removed =
        tx.prepare_cached("DELETE FROM waiting WHERE id = ?1 RETURNING bytes")?.query_row([id], |row| row.get(0));
    Ok(removed.optional()?.map(number))
}

/// Moves an event behind the others.
pub(super) fn put_behind(tx: &Connection, id: i64, retry_at: i64, reason: &str) -> rusqlite::Result<usize> {
    tx.prepare_cached("UPDATE waiting SET tries = tries + 1, retry_at = ?2, reason = ?3 WHERE id = ?1")?
        .execute(params![id, retry_at, reason])
}

/// Up to `limit` events after the place `after`.
pub(super) fn list(connection: &Connection, slot: u32, after: i64, limit: usize) -> rusqlite::Result<Vec<Row>> {
    let sql = "SELECT id, source, event_id, event_type, spooled_at, bytes, tries, reason \
               FROM waiting WHERE id > ?1 ORDER BY id LIMIT ?2";
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Row {
            id: format!("{slot}-{}", row.get::<_, i64>(0)?),
            source: row.get(1)?,
            event_id: row.get(2)?,
            event_type: row.get(3)?,
            spooled_at: Timestamp::from_millisecond(row.get(4)?).unwrap_or_default(),
            bytes: number(row.get(5)?),
            tries: row.get(6)?,
            reason: row.get(7)?,
        })
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.prepare_cached(sql)?.query_map(params![after, limit], row)?.collect()
}

/// Reads [`Row::id`].
pub(super) fn cursor(text: &str) -> Option<(u32, i64)> {
    let (slot, id) = text.split_once('-')?;
    Some((slot.parse().ok()?, id.parse().ok()?))
}

/// Says whether events wait in a slot's folder, whoever has it. A folder that cannot be read says no: it is looked at
/// again.
pub(super) async fn holds_events(folder: &Path) -> bool {
    let path = folder.join(DATABASE);
    let look = move || -> rusqlite::Result<bool> {
        if !path.exists() {
            return Ok(false);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(&path, flags)?
            .query_row("SELECT EXISTS (SELECT 1 FROM waiting)", [], |row| row.get(0))
    };
    match tokio::task::spawn_blocking(look).await {
        Ok(Ok(holds)) => holds,
        Ok(Err(error)) => {
            tracing::debug!(%error, folder = %folder.display(), "a slot of the spool cannot be read now");
            false
        }
        Err(_) => false,
    }
}

fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
