//! An event on its way to one handler, as a row of the embedded store.

use rusqlite::{Connection, OptionalExtension, params};

use crate::event::HandlerName;
use crate::queue::{DELIVERY_LIMIT, Stream};
use crate::wire::{Progress, WireMessage};

/// An event on its way to one handler.
pub(super) struct Job {
    pub(super) id: i64,
    pub(super) handler: HandlerName,
    pub(super) deliveries: u32,
    pub(super) message: WireMessage,
}

pub(super) fn insert(
    tx: &Connection,
    handler: &HandlerName,
    event_seq: i64,
    ready_at: i64,
    progress: &Progress,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO jobs (handler, event_seq, ready_at, attempt, ladder_start, epoch, replay_of)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        handler.as_str(),
        event_seq,
        ready_at,
        progress.attempt,
        progress.ladder_start,
        progress.epoch,
        progress.replay_of
    ])
    .map(drop)
}

/// When the stream's next job may be taken, if it has one.
pub(super) fn next_ready_at(connection: &Connection, stream: &Stream) -> rusqlite::Result<Option<i64>> {
    match stream {
        Stream::Handler(name) => connection
            .prepare_cached(
                "SELECT ready_at FROM jobs WHERE handler = ?1 AND taken = 0 AND deliveries < ?2
                 ORDER BY ready_at, id LIMIT 1",
            )?
            .query_row(params![name.as_str(), DELIVERY_LIMIT], |row| row.get(0))
            .optional(),
        Stream::Dead => connection
            .prepare_cached("SELECT 0 FROM jobs WHERE taken = 0 AND deliveries >= ?1 LIMIT 1")?
            .query_row([DELIVERY_LIMIT], |row| row.get(0))
            .optional(),
        Stream::Unrouted => Ok(None),
    }
}

pub(super) fn take(tx: &Connection, stream: &Stream, limit: usize, now: i64) -> rusqlite::Result<Vec<Job>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let ids: Vec<i64> = match stream {
        Stream::Handler(name) => tx
            .prepare_cached(
                "SELECT id FROM jobs WHERE handler = ?1 AND taken = 0 AND deliveries < ?2 AND ready_at <= ?3
                 ORDER BY ready_at, id LIMIT ?4",
            )?
            .query_map(params![name.as_str(), DELIVERY_LIMIT, now, limit], |row| row.get(0))?
            .collect::<Result<_, _>>()?,
        Stream::Dead => tx
            .prepare_cached("SELECT id FROM jobs WHERE taken = 0 AND deliveries >= ?1 LIMIT ?2")?
            .query_map(params![DELIVERY_LIMIT, limit], |row| row.get(0))?
            .collect::<Result<_, _>>()?,
        Stream::Unrouted => Vec::new(),
    };
    ids.into_iter().map(|id| take_one(tx, id)).collect()
}

fn take_one(tx: &Connection, id: i64) -> rusqlite::Result<Job> {
    tx.prepare_cached("UPDATE jobs SET taken = 1, deliveries = deliveries + 1 WHERE id = ?1")?.execute([id])?;
    tx.prepare_cached(
        "SELECT jobs.handler, jobs.deliveries, jobs.attempt, jobs.ladder_start, jobs.epoch, jobs.replay_of,
                events.event_key, events.event_type, events.content_type, events.received_at, events.headers, events.body
         FROM jobs JOIN events ON events.seq = jobs.event_seq WHERE jobs.id = ?1",
    )?
    .query_row([id], |row| {
        let handler: String = row.get(0)?;
        let key: [u8; 32] = row.get(6)?;
        let received_at: i64 = row.get(9)?;
        let mut message = WireMessage {
            message_id: hex::encode(key),
            event_type: row.get(7)?,
            content_type: row.get(8)?,
            timestamp: u64::try_from(received_at / 1_000).unwrap_or(0),
            headers: WireMessage::headers_from_block(row.get_ref(10)?.as_bytes()?),
            body: row.get::<_, Vec<u8>>(11)?.into(),
        };
        message.set_progress(&Progress {
            attempt: row.get(2)?,
            ladder_start: row.get(3)?,
            epoch: row.get(4)?,
            replay_of: row.get(5)?,
        });
        let handler = HandlerName::try_new(&handler)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into()))?;
        Ok(Job { id, handler, deliveries: row.get(1)?, message })
    })
}

pub(super) fn give_back(tx: &Connection, job: i64) -> rusqlite::Result<usize> {
    tx.prepare_cached("UPDATE jobs SET taken = 0, deliveries = deliveries - 1 WHERE id = ?1 AND taken = 1")?
        .execute([job])
}
