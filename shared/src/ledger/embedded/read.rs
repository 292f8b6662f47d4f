//! The embedded ledger's answers to the admin API, each from one state of the store.

use rusqlite::{Connection, Row};

use super::apply::bind;
use crate::ledger::story::{self, Columns};
use crate::ledger::{DeadLetterCount, DeadLetterDetail, DeadLetterRow, EventDetail, EventRow, Statement, list};

impl Columns for &Row<'_> {
    type Error = rusqlite::Error;

    fn text(&self, at: usize) -> rusqlite::Result<String> {
        self.get(at)
    }

    fn maybe_text(&self, at: usize) -> rusqlite::Result<Option<String>> {
        self.get(at)
    }

    fn number(&self, at: usize) -> rusqlite::Result<i64> {
        self.get(at)
    }

    fn bytes(&self, at: usize) -> rusqlite::Result<Vec<u8>> {
        self.get(at)
    }

    fn maybe_bytes(&self, at: usize) -> rusqlite::Result<Option<Vec<u8>>> {
        self.get(at)
    }
}

pub(super) fn events(tx: &Connection, statement: &Statement) -> rusqlite::Result<Vec<EventRow>> {
    let found = rows(tx, statement, |row| story::event(&row))?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<Vec<u8>> = found.iter().map(|event| event.key.clone()).collect();
    let parts = rows(tx, &list::parts(&keys), |row| story::part(&row))?;
    Ok(story::events_with_parts(found, parts))
}

pub(super) fn event(tx: &Connection, id: &str) -> rusqlite::Result<Vec<EventDetail>> {
    let found = rows(tx, &list::events_by_id(id), |row| story::event_with_content(&row))?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<Vec<u8>> = found.iter().map(|(event, _)| event.key.clone()).collect();
    let parts = rows(tx, &list::parts(&keys), |row| story::part(&row))?;
    let attempts = rows(tx, &list::attempts(&keys), |row| story::attempted(&row))?;
    Ok(story::details(found, &parts, &attempts))
}

pub(super) fn dead_letters(tx: &Connection, statement: &Statement) -> rusqlite::Result<Vec<DeadLetterRow>> {
    rows(tx, statement, |row| story::dead_letter(&row))
}

pub(super) fn dead_letter_counts(tx: &Connection, statement: &Statement) -> rusqlite::Result<Vec<DeadLetterCount>> {
    rows(tx, statement, |row| story::dead_letter_count(&row))
}

pub(super) fn dead_letter(tx: &Connection, id: &str) -> rusqlite::Result<Option<DeadLetterDetail>> {
    let found = rows(tx, &list::dead_letter_by_id(id), |row| story::dead_letter_detail(&row))?.pop();
    let Some(found) = found else { return Ok(None) };
    let attempts = match &found.key {
        Some(key) => rows(tx, &list::attempts(std::slice::from_ref(key)), |row| story::attempted(&row))?,
        None => Vec::new(),
    };
    Ok(Some(story::dead_letter_with_attempts(found, attempts)))
}

fn rows<T>(
    tx: &Connection,
    statement: &Statement,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut prepared = tx.prepare(&statement.sql)?;
    bind(&mut prepared, &statement.params)?;
    let mut rows = prepared.raw_query();
    let mut read_rows = Vec::new();
    while let Some(row) = rows.next()? {
        read_rows.push(read(row)?);
    }
    Ok(read_rows)
}
