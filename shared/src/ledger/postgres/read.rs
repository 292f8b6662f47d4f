//! Rows out of `PostgreSQL`.

use std::borrow::Cow;

use tokio_postgres::types::Type;

use super::fault::{Failed, Fault};
use super::session::{Request, Session};
use crate::ledger::read::Follow;
use crate::ledger::row::Row;
use crate::ledger::{Statement, Value};

/// Runs a statement and gives the rows that it returns.
pub(super) async fn rows(session: &Session, statement: &Statement) -> Result<Vec<Row>, Failed> {
    let request = request(session, statement).await?;
    let found = session.query(&request).await.map_err(|error| Fault::of_own(&error))?;
    Ok(found.iter().map(row).collect::<Result<_, _>>().map_err(|error| Fault::of_own(&error))?)
}

/// Gives the rows of a question and of those that follow from them, all from one state of the database.
pub(super) async fn rows_on(session: &Session, first: &Statement, follow: &Follow) -> Result<Vec<Vec<Row>>, Failed> {
    let begun = session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await;
    begun.map_err(|error| Fault::of_own(&error))?;
    let found = rows(session, first).await?;
    let questions = follow(&found);
    let mut answers = vec![found];
    for question in &questions {
        answers.push(rows(session, question).await?);
    }
    session.run("COMMIT").await.map_err(|error| Fault::of_own(&error))?;
    Ok(answers)
}

/// SQL that is put together is different each time, and not worth keeping as prepared.
pub(super) async fn request(session: &Session, statement: &Statement) -> Result<Request, Fault> {
    match statement.sql {
        Cow::Borrowed(_) => session.request(statement).await,
        Cow::Owned(_) => session.request_once(statement).await,
    }
}

fn row(found: &tokio_postgres::Row) -> Result<Row, tokio_postgres::Error> {
    let columns = found.columns().iter().enumerate();
    let values = columns.map(|(at, column)| value(found, at, column.type_()));
    Ok(Row::new(values.collect::<Result<_, _>>()?))
}

/// A column as the types that our own statements return are read; another one is an error.
fn value(found: &tokio_postgres::Row, at: usize, ty: &Type) -> Result<Value, tokio_postgres::Error> {
    Ok(match *ty {
        Type::INT8 => found.try_get::<_, Option<i64>>(at)?.into(),
        Type::BYTEA => found.try_get::<_, Option<Vec<u8>>>(at)?.into(),
        _ => found.try_get::<_, Option<String>>(at)?.into(),
    })
}
