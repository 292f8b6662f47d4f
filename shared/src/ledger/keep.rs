//! What the ledger keeps beside effects, as SQL that both databases take: events, failed attempts, dead letters.

use super::{DeadLetter, FailedAttempt, Statement, Value, story};
use crate::event::Event;
use crate::wire::{Progress, first_header_block};

/// The event's row in the log, unless it stands there.
///
/// Headers and body are those of a first attempt, as the queue would carry it: `content` is [`content`] of it.
pub(super) fn event(event: &Event, wanted_by: &str, content: Option<(Vec<u8>, Vec<u8>)>) -> Statement {
    let (headers, body) = content.unzip();
    Statement {
        sql: "INSERT INTO events
                  (event_key, source, event_id, event_type, received_at, request_id, handlers, content_type,
                   headers, body)
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (event_key) DO NOTHING"
            .into(),
        params: vec![
            event.key.as_bytes().as_slice().into(),
            event.source.as_str().into(),
            event.id.as_str().into(),
            event.event_type.as_str().into(),
            event.received_at.as_millisecond().into(),
            event.request_id.as_str().into(),
            wanted_by.into(),
            event.content_type.as_deref().into(),
            headers.into(),
            body.into(),
        ],
    }
}

/// The event's headers and body, as the log keeps them.
pub(super) fn content(event: &Event) -> (Vec<u8>, Vec<u8>) {
    (first_header_block(event), event.body.to_vec())
}

/// A failed attempt, unless it stands there.
pub(super) fn attempt(failed: &FailedAttempt) -> Statement {
    let at = failed.at.as_millisecond();
    attempt_row(failed.handler.as_str(), &failed.event, &failed.progress, at, &failed.error)
}

/// The last attempt of a dead letter.
pub(super) fn last_attempt(dead: &DeadLetter, event: &Event) -> Statement {
    attempt_row(dead.handler.as_str(), event, &dead.progress, dead.dead_at.as_millisecond(), &dead.reason)
}

fn attempt_row(handler: &str, event: &Event, progress: &Progress, at: i64, error: &str) -> Statement {
    Statement {
        sql: "INSERT INTO attempts (event_key, handler, epoch, attempt, at, error)
              VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
            .into(),
        params: vec![
            event.key.as_bytes().as_slice().into(),
            handler.into(),
            i64::from(progress.epoch).into(),
            i64::from(progress.attempt).into(),
            at.into(),
            story::storable(error).into(),
        ],
    }
}

/// A dead letter, new or dead again. `next_seq` is SQL for the place at the top of the list.
///
/// What is applied or discarded has a row in the inbox: the caller looks there first, in the same transaction. One
/// that is `delivered` all the same lost its inbox row to retention, and this is a new death.
pub(super) fn dead_letter(dead: &DeadLetter, next_seq: &str) -> Statement {
    let sql = format!(
        "INSERT INTO dead_letters
             (seq, id, dedupe_key, handler, source, event_id, event_key, event_type, reason, attempts, dead_at, status,
              message_id, content_type, sent_at, headers, body, attempt, ladder_start, epoch, replay_of)
         VALUES ({next_seq}, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'dead',
                 $11, $12, $13, $14, $15, $16, $17, $18, $19)
         ON CONFLICT (dedupe_key) DO UPDATE SET
             seq = excluded.seq, reason = excluded.reason, dead_at = excluded.dead_at, status = 'dead',
             attempts = CASE WHEN dead_letters.event_key IS NULL THEN dead_letters.attempts + 1
                             ELSE excluded.attempts END,
             headers = excluded.headers, attempt = excluded.attempt, ladder_start = excluded.ladder_start,
             replay_of = excluded.replay_of
         WHERE dead_letters.status <> 'discarded'
           AND (dead_letters.status = 'delivered' OR dead_letters.event_key IS NULL
                OR excluded.attempts > dead_letters.attempts)"
    );
    Statement { sql: sql.into(), params: dead_letter_params(dead) }
}

fn dead_letter_params(dead: &DeadLetter) -> Vec<Value> {
    let DeadLetter { event, progress, message, .. } = dead;
    let event = event.as_deref();
    vec![
        uuid::Uuid::now_v7().to_string().into(),
        story::dead_letter_key(dead).into(),
        dead.handler.as_str().into(),
        event.map(|event| event.source.as_str()).into(),
        event.map(|event| event.id.as_str()).into(),
        event.map(|event| event.key.as_bytes().as_slice()).into(),
        story::storable(&message.event_type).into(),
        story::storable(&dead.reason).into(),
        i64::from(progress.attempt).into(),
        dead.dead_at.as_millisecond().into(),
        story::storable(&message.message_id).into(),
        message.content_type.as_deref().map(story::storable).into(),
        i64::try_from(message.timestamp).unwrap_or(i64::MAX).into(),
        message.header_block().into(),
        message.body.to_vec().into(),
        i64::from(progress.attempt).into(),
        i64::from(progress.ladder_start).into(),
        i64::from(progress.epoch).into(),
        progress.replay_of.as_deref().map(story::storable).into(),
    ]
}

/// Takes a dead letter off the list, if it is still the one that was replayed.
pub(super) fn mark_replayed(id: &str, attempts: u32) -> Statement {
    Statement {
        sql: "UPDATE dead_letters SET status = 'replayed' WHERE id = $1 AND status = 'dead' AND attempts = $2".into(),
        params: vec![id.into(), i64::from(attempts).into()],
    }
}
