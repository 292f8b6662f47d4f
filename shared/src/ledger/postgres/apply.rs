//! The effects of a batch in one transaction, each event's beside the inbox row that says they were applied.
//!
//! Locks are taken in one order by every batch: inbox rows by key, what the effects touch, dead letters, and at the
//! end, held for the shortest time, the event log's rows by key, which other handlers of the same events want too.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use tokio_postgres::Statement as Prepared;
use tokio_postgres::types::{ToSql, Type};

use super::Database;
use super::bind::{Encoded, encode_all, own};
use super::fault::{Failed, Fault};
use super::session::{Request, Session};
use crate::event::{BodyHash, Event, EventKey};
use crate::ledger::{Applied, Commit, Statement, keep, step, story};
use crate::protocol::is_another_event;

/// Said in full, as a server may have other defaults: under another isolation level a concurrent redelivery would be
/// an error instead of a row that is not inserted.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

const INBOX: &str = "INSERT INTO inbox (event_key, handler, epoch, source, attempts, applied_at, outcome, fingerprint)
    SELECT n.event_key, n.handler, n.epoch, n.source, n.attempts, $8, n.outcome, n.fingerprint
    FROM UNNEST($1::bytea[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::bytea[])
         AS n (event_key, handler, epoch, source, attempts, outcome, fingerprint)
    ON CONFLICT DO NOTHING RETURNING event_key, handler, epoch";

/// What stands in the inbox under an event's key.
const FOUND: &str = "SELECT fingerprint FROM inbox WHERE event_key = $1 AND handler = $2 AND epoch = $3";

const HEAL: &str = "UPDATE dead_letters SET status = 'delivered'
    WHERE dedupe_key = ANY($1) AND status IN ('dead', 'replayed')";

const HEAL_BY_ID: &str = "UPDATE dead_letters SET status = 'delivered'
    WHERE id = ANY($1) AND status IN ('dead', 'replayed')";

const EVENTS: &str = "INSERT INTO events
        (event_key, source, event_id, event_type, received_at, request_id, handlers, content_type)
    SELECT * FROM UNNEST($1::bytea[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[],
                         $8::text[])
    ON CONFLICT DO NOTHING";

const EVENTS_WITH_CONTENT: &str = "INSERT INTO events
        (event_key, source, event_id, event_type, received_at, request_id, handlers, content_type, headers, body)
    SELECT * FROM UNNEST($1::bytea[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[],
                         $8::text[], $9::bytea[], $10::bytea[])
    ON CONFLICT (event_key) DO UPDATE SET headers = excluded.headers, body = excluded.body
    WHERE events.body IS NULL AND excluded.body IS NOT NULL";

/// Applies what was not applied before. `batch` holds no inbox key twice, and the answers stand in its order.
pub(super) async fn apply(database: &Database, batch: &[&Commit]) -> Result<Vec<Applied>, Failed> {
    let work = |session: Session| async move {
        let outcome = transact(&session, batch).await;
        (session, outcome)
    };
    database.retried(work).await
}

async fn transact(session: &Session, batch: &[&Commit]) -> Result<Vec<Applied>, Failed> {
    let inbox = inbox_request(session, batch).await?;
    let effects = effect_requests(session, batch).await?;
    // Not sent together with what follows: were the BEGIN refused, that would run and commit by itself.
    session.run(BEGIN).await.map_err(|error| Fault::of_own(&error))?;
    let applied = take_inbox(session, batch, &inbox).await?;
    let fresh: Vec<&Commit> = batch
        .iter()
        .zip(&applied)
        .filter(|(_, applied)| **applied == Applied::Now)
        .map(|(commit, _)| *commit)
        .collect();
    if !fresh.is_empty() {
        let fresh_effects = effects.into_iter().filter(|(place, _)| applied[*place] == Applied::Now);
        let (places, mut requests): (Vec<usize>, Vec<Request>) = fresh_effects.unzip();
        requests.extend(own_requests(session, &fresh).await?);
        for (number, result) in session.pipeline(&requests).await.into_iter().enumerate() {
            // The first error is the one that counts; after it the server refuses everything.
            match (result, places.get(number)) {
                (Ok(_), _) => {}
                (Err(error), Some(place)) => return Err(Failed { fault: Fault::from(&error), of: Some(*place) }),
                (Err(error), None) => return Err(Fault::of_own(&error).into()),
            }
        }
    }
    // Only now: a COMMIT in the pipeline would keep what stood before a request that was never sent.
    session.run("COMMIT").await.map_err(|error| Fault::from(&error))?;
    Ok(applied)
}

/// Runs the effects if the guard changes a row, and says whether it did.
pub(super) async fn guarded(session: &Session, guard: &Statement, effects: &[Statement]) -> Result<bool, Failed> {
    let guard = session.request(guard).await?;
    let mut requests = Vec::with_capacity(effects.len());
    for effect in effects {
        requests.push(effect_request(session, effect).await?);
    }
    session.run(BEGIN).await.map_err(|error| Fault::of_own(&error))?;
    if session.execute(&guard).await.map_err(|error| Fault::of_own(&error))? == 0 {
        session.run("ROLLBACK").await.map_err(|error| Fault::of_own(&error))?;
        return Ok(false);
    }
    for result in session.pipeline(&requests).await {
        result.map_err(|error| Fault::from(&error))?;
    }
    // Not in the pipeline, for the reason given in `transact`.
    session.run("COMMIT").await.map_err(|error| Fault::from(&error))?;
    Ok(true)
}

/// Prepares the handlers' statements and fits their parameters to them, outside of any transaction. Their steps go with
/// them: a record that contradicts the one that stands is their own fault.
async fn effect_requests(session: &Session, batch: &[&Commit]) -> Result<Vec<(usize, Request)>, Failed> {
    let mut requests = Vec::new();
    for (place, commit) in batch.iter().enumerate() {
        let record = |record| step::keep(&commit.event.key, commit.handler.as_str(), record);
        let steps: Vec<Statement> = commit.effects.steps.iter().map(record).collect();
        for statement in commit.effects.statements.iter().chain(&steps) {
            let request = effect_request(session, statement).await;
            requests.push((place, request.map_err(|fault| Failed { fault, of: Some(place) })?));
        }
    }
    Ok(requests)
}

async fn effect_request(session: &Session, statement: &Statement) -> Result<Request, Fault> {
    let prepared = session.prepare(&statement.sql).await.map_err(|error| Fault::from(&error))?;
    let params = encode_all(&statement.params, prepared.params()).map_err(Fault::Refused)?;
    Ok(Request { prepared, params })
}

async fn inbox_request(session: &Session, batch: &[&Commit]) -> Result<Request, Failed> {
    let mut sorted = batch.to_vec();
    sorted.sort_unstable_by_key(|commit| (commit.event.key, commit.handler.as_str(), commit.progress.epoch));
    let keys: Vec<&[u8]> = sorted.iter().map(|commit| commit.event.key.as_bytes().as_slice()).collect();
    let handlers: Vec<&str> = sorted.iter().map(|commit| commit.handler.as_str()).collect();
    let epochs: Vec<i64> = sorted.iter().map(|commit| commit.progress.epoch.into()).collect();
    let sources: Vec<&str> = sorted.iter().map(|commit| commit.event.source.as_str()).collect();
    let attempts: Vec<i64> = sorted.iter().map(|commit| commit.progress.attempt.into()).collect();
    let outcomes: Vec<Option<&str>> = sorted.iter().map(|commit| commit.effects.ending.outcome()).collect();
    let fingerprints: Vec<Option<&[u8]>> = sorted
        .iter()
        .map(|commit| commit.event.fingerprint.as_ref().map(|fingerprint| fingerprint.as_bytes().as_slice()))
        .collect();
    let now = Timestamp::now().as_millisecond();
    let params: [&(dyn ToSql + Sync); 8] =
        [&keys, &handlers, &epochs, &sources, &attempts, &outcomes, &fingerprints, &now];
    request(session, INBOX, &params).await
}

/// Inserts the inbox rows. Where another transaction inserts the same one it waits, and finds it there.
async fn take_inbox(session: &Session, batch: &[&Commit], inbox: &Request) -> Result<Vec<Applied>, Failed> {
    #[cfg(feature = "price")]
    if crate::price::Guard::Inbox.is_off() {
        return Ok(vec![Applied::Now; batch.len()]);
    }
    let rows = session.query(inbox).await.map_err(|error| Fault::of_own(&error))?;
    let read = |row: &tokio_postgres::Row| -> Result<(Vec<u8>, String, i64), tokio_postgres::Error> {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
    };
    let fresh: HashSet<(Vec<u8>, String, i64)> =
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| Fault::of_own(&error))?;
    let mut applied = Vec::with_capacity(batch.len());
    for commit in batch {
        let key = commit.event.key.as_bytes().to_vec();
        let row = (key, commit.handler.to_string(), i64::from(commit.progress.epoch));
        applied.push(if fresh.contains(&row) {
            Applied::Now
        } else if is_other_body(session, commit.handler.as_str(), &commit.event, commit.progress.epoch).await? {
            Applied::OtherBody
        } else {
            Applied::Before
        });
    }
    Ok(applied)
}

/// Says whether another event with its id stands in the inbox under the event's key.
pub(super) async fn is_other_body(session: &Session, handler: &str, event: &Event, epoch: u32) -> Result<bool, Failed> {
    let params = vec![event.key.as_bytes().as_slice().into(), handler.into(), i64::from(epoch).into()];
    let request = session.request(&Statement { sql: FOUND.into(), params }).await?;
    let rows = session.query(&request).await.map_err(|error| Fault::of_own(&error))?;
    let Some(row) = rows.first() else { return Ok(false) };
    let applied: Option<Vec<u8>> = row.try_get(0).map_err(|error| Fault::of_own(&error))?;
    let applied = applied.as_deref().and_then(BodyHash::from_bytes);
    Ok(is_another_event(applied.as_ref(), event.fingerprint.as_ref()))
}

/// What the ledger itself keeps of events that are applied now.
async fn own_requests(session: &Session, fresh: &[&Commit]) -> Result<Vec<Request>, Failed> {
    let dedupe_keys: Vec<String> = fresh
        .iter()
        .map(|commit| story::dedupe_key(commit.handler.as_str(), &commit.event.key, commit.progress.epoch))
        .collect();
    let replays: Vec<&str> = fresh.iter().filter_map(|commit| commit.progress.replay_of.as_deref()).collect();
    let mut requests = vec![request(session, HEAL, &[&dedupe_keys]).await?];
    if !replays.is_empty() {
        requests.push(request(session, HEAL_BY_ID, &[&replays]).await?);
    }
    requests.push(events_request(session, fresh).await?);
    Ok(requests)
}

/// The events' rows, each once, whichever of a batch's handlers archives it.
async fn events_request(session: &Session, fresh: &[&Commit]) -> Result<Request, Failed> {
    let mut by_key: BTreeMap<&EventKey, (&Commit, bool)> = BTreeMap::new();
    for commit in fresh {
        let (_, archived) = by_key.entry(&commit.event.key).or_insert((commit, false));
        *archived |= commit.effects.archive;
    }
    let commits: Vec<&Commit> = by_key.values().map(|(commit, _)| *commit).collect();
    let keys: Vec<&[u8]> = commits.iter().map(|commit| commit.event.key.as_bytes().as_slice()).collect();
    let sources: Vec<&str> = commits.iter().map(|commit| commit.event.source.as_str()).collect();
    let ids: Vec<&str> = commits.iter().map(|commit| commit.event.id.as_str()).collect();
    let types: Vec<&str> = commits.iter().map(|commit| commit.event.event_type.as_str()).collect();
    let received: Vec<i64> = commits.iter().map(|commit| commit.event.received_at.as_millisecond()).collect();
    let requests: Vec<&str> = commits.iter().map(|commit| commit.event.request_id.as_str()).collect();
    let wanted: Vec<&str> = commits.iter().map(|commit| &*commit.wanted_by).collect();
    let content_types: Vec<Option<&str>> = commits.iter().map(|commit| commit.event.content_type.as_deref()).collect();
    let plain: [&(dyn ToSql + Sync); 8] =
        [&keys, &sources, &ids, &types, &received, &requests, &wanted, &content_types];
    if by_key.values().all(|(_, archived)| !archived) {
        return request(session, EVENTS, &plain).await;
    }
    let (mut headers, mut bodies) = (Vec::new(), Vec::new());
    for (commit, archived) in by_key.values() {
        let (header_block, body) = archived.then(|| keep::content(&commit.event)).unzip();
        headers.push(header_block);
        bodies.push(body);
    }
    let all: Vec<&(dyn ToSql + Sync)> = plain.into_iter().chain([&headers as _, &bodies as _]).collect();
    request(session, EVENTS_WITH_CONTENT, &all).await
}

async fn request(session: &Session, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Request, Failed> {
    let prepared: Prepared = session.prepare(sql).await.map_err(|error| Fault::of_own(&error))?;
    let encoded: Result<Vec<Encoded>, String> =
        params.iter().zip(prepared.params()).map(|(param, ty): (_, &Type)| own(*param, ty)).collect();
    Ok(Request { params: encoded.map_err(Fault::Unavailable)?, prepared })
}
