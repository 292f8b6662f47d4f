//! The schema, our tables and the handlers' own: each migration once and whole, however many processes try.

use std::time::Duration;

use jiff::Timestamp;

use super::Database;
use super::apply::BEGIN;
use super::fault::{Failed, Fault};
use super::session::Session;
use crate::ledger::{LedgerUnavailable, Migration, Statement, version};

/// Ours, in order.
const OWN: [Migration; 3] = [
    Migration { id: "tidegate/1", sql: include_str!("schema.sql") },
    Migration { id: "tidegate/2", sql: include_str!("schema-2.sql") },
    Migration { id: "tidegate/3", sql: include_str!("schema-3.sql") },
];
/// How long one migration may take, waiting for those of other processes included.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);
/// What tells the lock of our migrations from other programs' advisory locks: "tide" in ASCII.
const LOCK_CLASS: i32 = 0x7469_6465;

pub(super) async fn migrate(database: &Database, migrations: &[Migration]) -> Result<(), LedgerUnavailable> {
    let applied = in_turn(database, None).await?;
    version::check(&applied)?;
    let missing = OWN.iter().chain(migrations).filter(|migration| !applied.iter().any(|id| id == migration.id));
    for migration in missing {
        let done = in_turn(database, Some(migration)).await;
        done.map_err(|failed| {
            LedgerUnavailable(format!("migration {}: {}", migration.id, failed.fault.into_reason()))
        })?;
    }
    Ok(())
}

/// Runs the migration, if there is one and it was not run, in a transaction that only one process has at a time. Says
/// which were run before.
async fn in_turn(database: &Database, migration: Option<&Migration>) -> Result<Vec<String>, Failed> {
    let work = |session: Session| async move {
        let outcome = turn(&session, &database.namespace, migration).await;
        (session, outcome)
    };
    database.once(MIGRATION_TIMEOUT, work).await
}

/// No lock or statement timeout: an index takes as long as it takes, and the others wait for it.
async fn turn(session: &Session, namespace: &str, migration: Option<&Migration>) -> Result<Vec<String>, Failed> {
    let begin = format!(
        "{BEGIN}; SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0;
         SELECT pg_advisory_xact_lock({LOCK_CLASS}, hashtext('{namespace}'))"
    );
    session.run(&begin).await.map_err(|error| Fault::of_own(&error))?;
    // Asked first, as a role that may not make schemas may still use one that was made for it.
    let missing = |what: &str, name: &str| format!("SELECT 'missing' WHERE {what}('{name}') IS NULL");
    if !texts(session, missing("to_regnamespace", &format!("\"{namespace}\""))).await?.is_empty() {
        let make = format!("CREATE SCHEMA \"{namespace}\"");
        session.run(&make).await.map_err(|error| Fault::of_own(&error))?;
    }
    if !texts(session, missing("to_regclass", &format!("\"{namespace}\".migrations"))).await?.is_empty() {
        let make = "CREATE TABLE migrations (id TEXT PRIMARY KEY, applied_at BIGINT NOT NULL)";
        session.run(make).await.map_err(|error| Fault::of_own(&error))?;
    }
    let applied = texts(session, "SELECT id FROM migrations".to_owned()).await?;
    if let Some(migration) = migration
        && !applied.iter().any(|id| id == migration.id)
    {
        run(session, migration).await?;
    }
    session.run("COMMIT").await.map_err(|error| Fault::of_own(&error))?;
    Ok(applied)
}

/// The first column of each row.
async fn texts(session: &Session, sql: String) -> Result<Vec<String>, Failed> {
    let request = session.request_once(&Statement { sql: sql.into(), params: Vec::new() }).await?;
    let rows = session.query(&request).await.map_err(|error| Fault::of_own(&error))?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(|error| Fault::of_own(&error))?)
}

async fn run(session: &Session, migration: &Migration) -> Result<(), Failed> {
    let mark = Statement {
        sql: "INSERT INTO migrations (id, applied_at) VALUES ($1, $2)".into(),
        params: vec![migration.id.into(), Timestamp::now().as_millisecond().into()],
    };
    let mark = session.request_once(&mark).await?;
    session.run(migration.sql).await.map_err(|error| Fault::of_own(&error))?;
    session.execute(&mark).await.map_err(|error| Fault::of_own(&error))?;
    Ok(())
}
