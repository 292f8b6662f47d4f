//! Rows out of the embedded store.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::apply::bind;
use crate::ledger::row::Row;
use crate::ledger::{Statement, Value};

/// Runs a statement to its end and gives the rows that it returns.
pub(super) fn rows(tx: &Connection, statement: &Statement) -> rusqlite::Result<Vec<Row>> {
    let mut prepared = tx.prepare_cached(&statement.sql)?;
    bind(&mut prepared, &statement.params)?;
    let columns = prepared.column_count();
    let mut found = prepared.raw_query();
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(Row::new((0..columns).map(|at| value(row, at)).collect::<rusqlite::Result<_>>()?));
    }
    Ok(rows)
}

fn value(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Value> {
    Ok(match row.get_ref(at)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(_) => Value::Text(row.get(at)?),
        ValueRef::Blob(bytes) => bytes.into(),
    })
}
