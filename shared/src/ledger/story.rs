//! Rows of the ledger, put together to an event's story.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::row::Row;
use super::step::Recorded;
use super::{
    AttemptRow, Content, DeadLetter, DeadLetterCount, DeadLetterDetail, DeadLetterRow, DeadLetterStatus, EventDetail,
    EventRow, HandlerAttempts, HandlerStatus, HandlerSteps, LedgerUnavailable, Status,
};
use crate::event::{BodyHash, EventKey};
use crate::wire::{Progress, WireMessage};

/// Words of a reason that are kept, in bytes: an operator reads them, and some begin with a whole page of HTML.
const WORDS_MAX: usize = 4_096;

/// An event's row, before its handlers' parts are known.
#[derive(Debug)]
pub(super) struct EventFound {
    pub(super) key: Vec<u8>,
    wanted_by: String,
    content_type: Option<String>,
    row: EventRow,
}

/// What one handler did with one event in one epoch.
#[derive(Debug, Clone)]
pub(super) struct Part {
    key: Vec<u8>,
    handler: String,
    epoch: i64,
    kind: String,
    attempts: u32,
}

/// A failed attempt and whose it is.
#[derive(Debug)]
pub(super) struct Attempted {
    key: Vec<u8>,
    handler: String,
    row: AttemptRow,
}

/// A dead letter's row, before its attempts are known.
#[derive(Debug)]
pub(super) struct DeadLetterFound {
    /// The event's key, where the message could be read.
    pub(super) key: Option<Vec<u8>>,
    detail: DeadLetterDetail,
}

/// Reads a row of [`super::list::events`].
pub(super) fn event(row: &Row) -> Result<EventFound, LedgerUnavailable> {
    let key = row.bytes(1)?;
    let status = row.text(9)?;
    let found = EventRow {
        event_id: row.text(3)?,
        source: row.text(2)?,
        event_type: row.text(4)?,
        received_at: row.moment(5)?,
        status: Status::ALL.into_iter().find(|known| known.as_str() == status).unwrap_or(Status::Accepted),
        handlers: Vec::new(),
        key: hex::encode(&key),
        request_id: row.text(6)?,
        cursor: row.number(0)?,
    };
    Ok(EventFound { key, wanted_by: row.text(7)?, content_type: row.maybe_text(8)?, row: found })
}

/// Reads a row of [`super::list::events_by_id`].
pub(super) fn event_with_content(row: &Row) -> Result<(EventFound, Option<Content>), LedgerUnavailable> {
    let content = row.maybe_bytes(11)?.map(Bytes::from);
    let headers = row.maybe_bytes(10)?.unwrap_or_default();
    let content = content.map(|body| Content { headers: WireMessage::headers_from_block(&headers), body });
    Ok((event(row)?, content))
}

/// Reads a row of [`super::list::parts`].
pub(super) fn part(row: &Row) -> Result<Part, LedgerUnavailable> {
    Ok(Part {
        key: row.bytes(0)?,
        handler: row.text(1)?,
        epoch: row.number(2)?,
        kind: row.text(3)?,
        attempts: row.count(4)?,
    })
}

/// Reads a row of [`super::list::attempts`].
pub(super) fn attempted(row: &Row) -> Result<Attempted, LedgerUnavailable> {
    let attempt = AttemptRow { attempt: row.count(2)?, at: row.moment(3)?, error: row.text(4)? };
    Ok(Attempted { key: row.bytes(0)?, handler: row.text(1)?, row: attempt })
}

/// Reads a row of [`super::list::dead_letters`].
pub(super) fn dead_letter(row: &Row) -> Result<DeadLetterRow, LedgerUnavailable> {
    Ok(DeadLetterRow {
        id: row.text(1)?,
        handler: row.text(2)?,
        source: row.maybe_text(3)?,
        event_id: row.maybe_text(4)?,
        event_type: row.text(5)?,
        reason: row.text(6)?,
        attempts: row.count(7)?,
        dead_at: row.moment(8)?,
        cursor: row.number(0)?,
    })
}

/// Reads a row of [`super::list::dead_letter_by_id`].
pub(super) fn dead_letter_detail(row: &Row) -> Result<DeadLetterFound, LedgerUnavailable> {
    let status = row.text(9)?;
    let letter = dead_letter(row)?;
    let message = WireMessage {
        message_id: row.text(11)?,
        event_type: letter.event_type.clone(),
        content_type: row.maybe_text(12)?,
        timestamp: u64::try_from(row.number(13)?).unwrap_or(0),
        headers: WireMessage::headers_from_block(&row.bytes(14)?),
        body: row.bytes(15)?.into(),
    };
    let progress = Progress {
        attempt: row.count(16)?,
        ladder_start: row.count(17)?,
        epoch: row.count(18)?,
        replay_of: row.maybe_text(19)?,
    };
    let known = DeadLetterStatus::ALL.into_iter().find(|known| known.as_str() == status);
    let status = known.unwrap_or(DeadLetterStatus::Dead);
    let detail = DeadLetterDetail { row: letter, status, message, progress, failed_attempts: Vec::new() };
    Ok(DeadLetterFound { key: row.maybe_bytes(10)?, detail })
}

/// Reads a row of [`super::list::count_dead_letters`].
pub(super) fn dead_letter_count(row: &Row) -> Result<DeadLetterCount, LedgerUnavailable> {
    let count = u64::try_from(row.number(2)?).unwrap_or(0);
    Ok(DeadLetterCount { handler: row.text(0)?, source: row.maybe_text(1)?, count })
}

/// Gives each event its handlers' parts.
pub(super) fn events_with_parts(events: Vec<EventFound>, parts: Vec<Part>) -> Vec<EventRow> {
    let mut by_event: BTreeMap<Vec<u8>, Vec<Part>> = BTreeMap::new();
    for part in parts {
        by_event.entry(part.key.clone()).or_default().push(part);
    }
    let with_parts = |event: EventFound| {
        let parts = by_event.get(&event.key).map_or(&[][..], Vec::as_slice);
        EventRow { handlers: handlers(&event.wanted_by, parts), ..event.row }
    };
    events.into_iter().map(with_parts).collect()
}

/// Gives each event its handlers' parts, its attempts, its steps and its content.
pub(super) fn details(
    events: Vec<(EventFound, Option<Content>)>,
    parts: &[Part],
    attempts: &[Attempted],
    steps: &[Recorded],
) -> Vec<EventDetail> {
    let detail = |(event, content): (EventFound, Option<Content>)| {
        let failed = attempts.iter().filter(|attempt| attempt.key == event.key);
        let failed_attempts = by_handler(failed.map(|attempt| (attempt.handler.as_str(), &attempt.row)))
            .map(|(handler, attempts)| HandlerAttempts { handler, attempts })
            .collect();
        let recorded = steps.iter().filter(|step| step.key == event.key);
        let steps = by_handler(recorded.map(|step| (step.handler.as_str(), &step.record)))
            .map(|(handler, steps)| HandlerSteps { handler, steps })
            .collect();
        let parts = parts.iter().filter(|part| part.key == event.key).cloned().collect();
        let content_type = event.content_type.clone();
        let row = events_with_parts(vec![event], parts).pop();
        row.map(|row| EventDetail { row, failed_attempts, steps, content_type, content })
    };
    events.into_iter().filter_map(detail).collect()
}

/// What belongs to each handler, by its name.
fn by_handler<'a, T: Clone + 'a>(
    all: impl Iterator<Item = (&'a str, &'a T)>,
) -> impl Iterator<Item = (String, Vec<T>)> {
    let mut by_handler: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for (handler, one) in all {
        by_handler.entry(handler.to_owned()).or_default().push(one.clone());
    }
    by_handler.into_iter()
}

/// Gives a dead letter its attempts. An unreadable message has none but its own.
pub(super) fn dead_letter_with_attempts(found: DeadLetterFound, attempts: Vec<Attempted>) -> DeadLetterDetail {
    let mut detail = found.detail;
    let row = &detail.row;
    detail.failed_attempts = if found.key.is_some() {
        attempts.into_iter().filter(|attempt| attempt.handler == row.handler).map(|attempt| attempt.row).collect()
    } else {
        vec![AttemptRow { attempt: row.attempts, at: row.dead_at, error: row.reason.clone() }]
    };
    detail
}

/// One part for each handler that wants the event or did something with it, by name.
fn handlers(wanted_by: &str, parts: &[Part]) -> Vec<HandlerStatus> {
    let mut by_handler: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
    for name in wanted_by.split(',').filter(|name| !name.is_empty()) {
        by_handler.entry(name).or_default();
    }
    for part in parts {
        by_handler.entry(&part.handler).or_default().push(part);
    }
    by_handler.into_iter().map(|(handler, parts)| handler_status(handler, &parts)).collect()
}

/// The worst of the handler's epochs counts: a failed attempt counts unless its own epoch has ended.
fn handler_status(handler: &str, parts: &[&Part]) -> HandlerStatus {
    let find = |kind: &str| parts.iter().find(|part| part.kind == kind);
    let ended = |part: &Part| matches!(part.kind.as_str(), "applied" | "compensated");
    let has_ended = |epoch| parts.iter().any(|part| ended(part) && part.epoch == epoch);
    let failed = parts.iter().find(|part| part.kind == "failed" && !has_ended(part.epoch));
    let worst = [
        (Status::Dead, find("dead")),
        (Status::Retrying, failed),
        (Status::Compensated, find("compensated")),
        (Status::Applied, find("applied")),
    ];
    let found = worst.into_iter().find_map(|(status, part)| Some((status, part?.attempts)));
    let (status, attempts) = found.unwrap_or((Status::Accepted, 0));
    HandlerStatus { handler: handler.to_owned(), status, attempts }
}

/// What makes two dead letters the same one: handler, event and epoch; for an unreadable message, its content without
/// the headers that a replay changes.
pub(super) fn dedupe_key(handler: &str, event: &EventKey, epoch: u32) -> String {
    format!("{handler}/{event}/{epoch}")
}

/// The dedupe key of any dead letter.
pub(super) fn dead_letter_key(dead: &DeadLetter) -> String {
    if let Some(event) = &dead.event {
        return dedupe_key(dead.handler.as_str(), &event.key, dead.progress.epoch);
    }
    let mut message = dead.message.clone();
    message
        .headers
        .retain(|(name, _)| !matches!(name.as_str(), "tg-attempt" | "tg-ladder-start" | "tg-epoch" | "tg-replay-of"));
    let content_type = message.content_type.as_deref().unwrap_or_default();
    let mut content = Vec::with_capacity(message.body.len() + 1_024);
    for field in [message.message_id.as_bytes(), message.event_type.as_bytes(), content_type.as_bytes()] {
        content.extend_from_slice(&(field.len() as u64).to_be_bytes());
        content.extend_from_slice(field);
    }
    let headers = message.header_block();
    content.extend_from_slice(&(headers.len() as u64).to_be_bytes());
    content.extend_from_slice(&headers);
    content.extend_from_slice(&message.body);
    format!("{}/unreadable/{}", dead.handler, BodyHash::of(&content))
}

/// Text as both databases keep it: `PostgreSQL` has no zero bytes in text, and an unreadable message may have some.
pub(super) fn storable(text: &str) -> String {
    let mut end = text.len().min(WORDS_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "\u{fffd}")
}
