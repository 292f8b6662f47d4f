//! What the ledger says, asked past Tidegate.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio_postgres::NoTls;

use super::{Backend, Site};
use crate::audit::Dead;
use crate::plan::Planned;

impl Site {
    /// Events that are applied, by the counter of effects.
    ///
    /// # Errors
    /// If the ledger cannot be asked.
    pub async fn applied(&self) -> Result<u64> {
        self.number("SELECT total FROM chaos_counter").await
    }

    /// Dead letters.
    ///
    /// # Errors
    /// If the ledger cannot be asked.
    pub async fn dead(&self) -> Result<u64> {
        self.number("SELECT count(*) FROM dead_letters").await
    }

    pub(super) async fn number(&self, sql: &str) -> Result<u64> {
        let number: i64 = match &self.backend {
            Backend::Embedded => self.open_store()?.query_row(sql, [], |row| row.get(0))?,
            Backend::Distributed { .. } => self.connect_ledger().await?.query_one(sql, &[]).await?.try_get(0)?,
        };
        Ok(u64::try_from(number)?)
    }

    /// Every effect: the event's number and its body's fingerprint.
    ///
    /// # Errors
    /// If the ledger cannot be asked.
    pub async fn effects(&self) -> Result<Vec<(u64, String)>> {
        let sql = "SELECT event, fingerprint FROM chaos_effects";
        let rows: Vec<(i64, String)> = match &self.backend {
            Backend::Embedded => {
                let store = self.open_store()?;
                let mut prepared = store.prepare(sql)?;
                let rows = prepared.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.collect::<Result<_, _>>()?
            }
            Backend::Distributed { .. } => {
                let rows = self.connect_ledger().await?.query(sql, &[]).await?;
                rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_>>()?
            }
        };
        rows.into_iter().map(|(event, print)| Ok((u64::try_from(event)?, print))).collect()
    }

    /// Every dead letter.
    ///
    /// # Errors
    /// If the ledger cannot be asked.
    pub async fn dead_letters(&self) -> Result<Vec<Dead>> {
        let sql = "SELECT event_id, reason FROM dead_letters";
        let rows: Vec<(Option<String>, String)> = match &self.backend {
            Backend::Embedded => {
                let store = self.open_store()?;
                let mut prepared = store.prepare(sql)?;
                let rows = prepared.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.collect::<Result<_, _>>()?
            }
            Backend::Distributed { .. } => {
                let rows = self.connect_ledger().await?.query(sql, &[]).await?;
                rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_>>()?
            }
        };
        let dead =
            |(id, reason): (Option<String>, String)| Dead { number: id.and_then(|id| Planned::number_of(&id)), reason };
        Ok(rows.into_iter().map(dead).collect())
    }

    /// What the ledger keeps of an event, one line a row.
    ///
    /// # Errors
    /// If the ledger cannot be asked.
    pub async fn ledger_of(&self, number: u64) -> Result<Vec<String>> {
        let key = format!("(SELECT event_key FROM events WHERE event_id = 'evt_{number}')");
        let text = |table: &str, columns: &str, condition: String| {
            let columns = columns.split(", ").map(|column| format!("coalesce(CAST({column} AS TEXT), '-')"));
            let row = columns.collect::<Vec<_>>().join(" || ' ' || ");
            format!("SELECT '{table}: ' || {row} FROM {table} WHERE {condition}")
        };
        let questions = [
            text("events", "event_id, received_at, request_id, handlers", format!("event_id = 'evt_{number}'")),
            text("inbox", "handler, epoch, attempts, applied_at", format!("event_key IN {key}")),
            text("attempts", "handler, epoch, attempt, at, error", format!("event_key IN {key}")),
            text("dead_letters", "handler, attempts, dead_at, status, reason", format!("event_id = 'evt_{number}'")),
            text("chaos_effects", "event, fingerprint, attempt", format!("event = {number}")),
        ];
        let mut lines = Vec::new();
        for question in questions {
            match &self.backend {
                Backend::Embedded => {
                    let store = self.open_store()?;
                    let mut prepared = store.prepare(&question)?;
                    let rows = prepared.query_map([], |row| row.get::<_, String>(0))?;
                    lines.extend(rows.collect::<Result<Vec<_>, _>>()?);
                }
                Backend::Distributed { .. } => {
                    let rows = self.connect_ledger().await?.query(&question, &[]).await?;
                    lines.extend(rows.iter().map(|row| row.get::<_, String>(0)));
                }
            }
        }
        Ok(lines)
    }

    /// Makes sure that the embedded store is whole.
    ///
    /// # Errors
    /// If it is not, or is not embedded.
    pub fn check_integrity(&self) -> Result<()> {
        let found: String = self.open_store()?.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        ensure!(found == "ok", "the store is damaged: {found}");
        Ok(())
    }

    /// A connection of the round's own to the ledger.
    ///
    /// # Errors
    /// If PostgreSQL does not answer.
    pub async fn connect_ledger(&self) -> Result<tokio_postgres::Client> {
        let Backend::Distributed { servers, namespace, .. } = &self.backend else { bail!("the ledger is a file") };
        let (client, connection) = tokio_postgres::connect(servers.postgres.url(), NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path TO {namespace:?}")).await?;
        Ok(client)
    }

    fn open_store(&self) -> Result<rusqlite::Connection> {
        let path = self.data().join("tidegate.db");
        let store = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        store.busy_timeout(Duration::from_secs(10))?;
        Ok(store)
    }
}
