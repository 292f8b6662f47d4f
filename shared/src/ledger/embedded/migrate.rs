//! The embedded ledger's tables and its handlers' own, each migration once and whole.

use jiff::Timestamp;
use rusqlite::Connection;

use super::unavailable;
use crate::ledger::{LedgerUnavailable, Migration, version};
use crate::store::Store;

/// Ours, in order.
const OWN: [Migration; 3] = [
    Migration { id: "tidegate/1", sql: include_str!("schema.sql") },
    Migration { id: "tidegate/2", sql: include_str!("schema-2.sql") },
    Migration { id: "tidegate/3", sql: include_str!("schema-3.sql") },
];

pub(super) async fn migrate(store: &Store, migrations: &[Migration]) -> Result<(), LedgerUnavailable> {
    let applied = store.write(applied).await.map_err(|error| unavailable(&error))?;
    version::check(&applied)?;
    for migration in OWN.iter().chain(migrations) {
        let (id, sql) = (migration.id, migration.sql);
        let write = store.write(move |tx| apply(tx, id, sql));
        write.await.map_err(|error| LedgerUnavailable(format!("migration {id}: {}", unavailable(&error).0)))?;
    }
    Ok(())
}

/// The migrations that were run, in a table that is made if it is not there.
fn applied(tx: &Connection) -> rusqlite::Result<Vec<String>> {
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (id TEXT PRIMARY KEY, applied_at INTEGER NOT NULL) WITHOUT ROWID",
    )?;
    tx.prepare("SELECT id FROM migrations")?.query_map([], |row| row.get(0))?.collect()
}

fn apply(tx: &Connection, id: &str, sql: &str) -> rusqlite::Result<()> {
    if tx.prepare_cached("SELECT 1 FROM migrations WHERE id = ?1")?.exists([id])? {
        return Ok(());
    }
    tx.execute_batch(sql)?;
    tx.execute("INSERT INTO migrations (id, applied_at) VALUES (?1, ?2)", (id, Timestamp::now().as_millisecond()))?;
    Ok(())
}
