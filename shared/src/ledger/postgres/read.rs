//! `PostgreSQL`'s answers to the admin API, each from one state of the database.

use tokio_postgres::Row;

use super::fault::{Failed, Fault};
use super::session::Session;
use crate::ledger::story::{self, Columns};
use crate::ledger::{DeadLetterCount, DeadLetterDetail, DeadLetterRow, EventDetail, EventRow, Statement, list};

impl Columns for Row {
    type Error = tokio_postgres::Error;

    fn text(&self, at: usize) -> Result<String, Self::Error> {
        self.try_get(at)
    }

    fn maybe_text(&self, at: usize) -> Result<Option<String>, Self::Error> {
        self.try_get(at)
    }

    fn number(&self, at: usize) -> Result<i64, Self::Error> {
        self.try_get(at)
    }

    fn bytes(&self, at: usize) -> Result<Vec<u8>, Self::Error> {
        self.try_get(at)
    }

    fn maybe_bytes(&self, at: usize) -> Result<Option<Vec<u8>>, Self::Error> {
        self.try_get(at)
    }
}

pub(super) async fn events(session: &Session, statement: &Statement) -> Result<Vec<EventRow>, Failed> {
    begin(session).await?;
    let found = rows(session, statement, story::event).await?;
    let keys: Vec<Vec<u8>> = found.iter().map(|event| event.key.clone()).collect();
    let parts = if keys.is_empty() { Vec::new() } else { rows(session, &list::parts(&keys), story::part).await? };
    end(session).await?;
    Ok(story::events_with_parts(found, parts))
}

pub(super) async fn event(session: &Session, id: &str) -> Result<Vec<EventDetail>, Failed> {
    begin(session).await?;
    let found = rows(session, &list::events_by_id(id), story::event_with_content).await?;
    let keys: Vec<Vec<u8>> = found.iter().map(|(event, _)| event.key.clone()).collect();
    let (mut parts, mut attempts) = (Vec::new(), Vec::new());
    if !keys.is_empty() {
        parts = rows(session, &list::parts(&keys), story::part).await?;
        attempts = rows(session, &list::attempts(&keys), story::attempted).await?;
    }
    end(session).await?;
    Ok(story::details(found, &parts, &attempts))
}

pub(super) async fn dead_letters(session: &Session, statement: &Statement) -> Result<Vec<DeadLetterRow>, Failed> {
    rows(session, statement, story::dead_letter).await
}

pub(super) async fn dead_letter_counts(
    session: &Session,
    statement: &Statement,
) -> Result<Vec<DeadLetterCount>, Failed> {
    rows(session, statement, story::dead_letter_count).await
}

pub(super) async fn dead_letter(session: &Session, id: &str) -> Result<Option<DeadLetterDetail>, Failed> {
    begin(session).await?;
    let found = rows(session, &list::dead_letter_by_id(id), story::dead_letter_detail).await?.pop();
    let attempts = match found.as_ref().and_then(|found| found.key.as_ref()) {
        Some(key) => rows(session, &list::attempts(std::slice::from_ref(key)), story::attempted).await?,
        None => Vec::new(),
    };
    end(session).await?;
    Ok(found.map(|found| story::dead_letter_with_attempts(found, attempts)))
}

async fn rows<T>(
    session: &Session,
    statement: &Statement,
    read: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
) -> Result<Vec<T>, Failed> {
    let request = session.request_once(statement).await?;
    let rows = session.query(&request).await.map_err(|error| Fault::of_own(&error))?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| Fault::of_own(&error))?)
}

async fn begin(session: &Session) -> Result<(), Failed> {
    let begun = session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await;
    begun.map_err(|error| Fault::of_own(&error).into())
}

async fn end(session: &Session) -> Result<(), Failed> {
    session.run("COMMIT").await.map_err(|error| Fault::of_own(&error).into())
}
