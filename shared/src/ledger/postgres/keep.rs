//! Failed attempts, dead letters and unrouted events in `PostgreSQL`.

use super::apply::{BEGIN, is_other_body};
use super::fault::{Failed, Fault};
use super::read;
use super::session::{Request, Session};
use crate::event::Event;
use crate::ledger::{DeadLetter, DeadLetterFilter, FailedAttempt, Kept, Statement, keep, list};

/// Above the newest dead letter.
const NEXT_SEQ: &str = "nextval('dead_letter_seq')";

pub(super) async fn record_attempt(session: &Session, attempt: &FailedAttempt) -> Result<(), Failed> {
    // Each commits by itself: an attempt without its event's row, or the other way round, is true as far as it goes.
    let statements = [keep::attempt(attempt), keep::event(&attempt.event, &attempt.wanted_by, None)];
    run_all(session, &requests(session, &statements).await?).await
}

pub(super) async fn log_unrouted(session: &Session, event: &Event) -> Result<(), Failed> {
    run_all(session, &requests(session, &[keep::event(event, "", Some(keep::content(event)))]).await?).await
}

/// Keeps a dead letter unless the inbox says that its event was applied or discarded.
///
/// To look and to keep in one, it inserts the inbox row and deletes it again: a commit of the same event then either
/// stood before, or waits, and heals what it finds.
pub(super) async fn dead_letter(session: &Session, dead: &DeadLetter) -> Result<Kept, Failed> {
    let kept = keep::dead_letter(dead, NEXT_SEQ);
    let Some(event) = &dead.event else {
        run_all(session, &requests(session, &[kept]).await?).await?;
        return Ok(Kept::Done);
    };
    let key = event.key.as_bytes().as_slice();
    let [place, leave] = [
        "INSERT INTO inbox (event_key, handler, epoch, source, attempts) VALUES ($1, $2, $3, '', 0)
         ON CONFLICT DO NOTHING",
        "DELETE FROM inbox WHERE event_key = $1 AND handler = $2 AND epoch = $3",
    ]
    .map(|sql| Statement {
        sql: sql.into(),
        params: vec![key.into(), dead.handler.as_str().into(), i64::from(dead.progress.epoch).into()],
    });
    let place = session.request(&place).await?;
    let log = keep::event(event, &dead.wanted_by, None);
    let rest = requests(session, &[kept, keep::last_attempt(dead, event), log, leave]).await?;

    session.run(BEGIN).await.map_err(|error| Fault::of_own(&error))?;
    let mut outcome = Kept::Done;
    if session.execute(&place).await.map_err(|error| Fault::of_own(&error))? == 1 {
        run_all(session, &rest).await?;
    } else if is_other_body(session, dead.handler.as_str(), event, dead.progress.epoch).await? {
        outcome = Kept::OtherBody;
    }
    session.run("COMMIT").await.map_err(|error| Fault::of_own(&error))?;
    Ok(outcome)
}

/// Runs a statement and says how many rows it changed.
pub(super) async fn change(session: &Session, statement: &Statement) -> Result<u64, Failed> {
    let request = read::request(session, statement).await?;
    Ok(session.execute(&request).await.map_err(|error| Fault::of_own(&error))?)
}

pub(super) async fn discard(session: &Session, filter: &DeadLetterFilter) -> Result<u64, Failed> {
    let request = session.request_once(&list::discard_at_once(filter)).await?;
    let rows = session.query(&request).await.map_err(|error| Fault::of_own(&error))?;
    let count: Option<i64> = rows.first().and_then(|row| row.get(0));
    Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}

async fn requests(session: &Session, statements: &[Statement]) -> Result<Vec<Request>, Failed> {
    let mut requests = Vec::with_capacity(statements.len());
    for statement in statements {
        requests.push(session.request(statement).await?);
    }
    Ok(requests)
}

async fn run_all(session: &Session, requests: &[Request]) -> Result<(), Failed> {
    for result in session.pipeline(requests).await {
        result.map_err(|error| Fault::of_own(&error))?;
    }
    Ok(())
}
