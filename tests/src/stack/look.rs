//! How a test looks at a stack: through the admin API, the ledger's tables and the metrics.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use reqwest::Method;
use serde_json::Value;
use tokio_postgres::NoTls;
use tokio_postgres::config::TargetSessionAttrs;

use super::{SOON, Stack, Store};
use crate::eventually::eventually;
use crate::program::Program;

/// How long one of several servers may take to be reached: it may be cut off.
const SILENT_MAX: Duration = Duration::from_secs(1);

impl Stack {
    /// Asks the admin API.
    ///
    /// # Errors
    /// If it does not answer 2xx.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        self.ask_at(&self.admin(), method, path, body).await
    }

    /// Asks the admin API of the first ingest.
    ///
    /// # Errors
    /// If it does not answer 2xx.
    pub async fn ask_door(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        self.ask_at(&self.door_admin(), method, path, body).await
    }

    async fn ask_at(&self, admin: &str, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let request = self.http.request(method, format!("{admin}{path}"));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path} answered {status}: {text}");
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// Every row of a list of the admin API.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = self.ask(Method::GET, &format!("{path}{join}limit=1000{cursor}"), None).await?;
            rows.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(rows),
            }
        }
    }

    /// Waits until the event has this status, and gives its row.
    ///
    /// # Errors
    /// If it does not get it.
    pub async fn until_status(&self, event_id: &str, status: &str) -> Result<Value> {
        eventually(&format!("{event_id} is {status}"), SOON, || async {
            let path = format!("/v1/events/{event_id}");
            let found = self.ask(Method::GET, &path, None).await.map_err(|error| error.to_string())?;
            let row = found["items"][0].clone();
            if row["status"] == status { Ok(row) } else { Err(row.to_string()) }
        })
        .await
    }

    /// Waits until there are so many dead letters, and gives them.
    ///
    /// # Errors
    /// If there are not.
    pub async fn until_dead(&self, count: usize) -> Result<Vec<Value>> {
        eventually(&format!("{count} dead letters"), SOON, || async {
            let dead = self.list("/v1/dead-letters").await.map_err(|error| error.to_string())?;
            if dead.len() == count { Ok(dead) } else { Err(format!("{} of {count}", dead.len())) }
        })
        .await
    }

    /// The one number that a query of the ledger answers with; 0 where its table is not there yet.
    ///
    /// # Errors
    /// If the ledger cannot be asked.
    pub async fn number(&self, sql: &str) -> Result<i64> {
        match &self.store {
            Store::Embedded => Ok(self.open_store()?.query_row(sql, [], |row| row.get(0))?),
            Store::Distributed { .. } => {
                let row = self.connect_ledger().await?.query_one(sql, &[]).await?;
                Ok(row.get(0))
            }
        }
    }

    /// A connection of the test's own to the ledger's tables, open until it is dropped.
    ///
    /// # Errors
    /// If the backend is embedded, or PostgreSQL does not answer.
    pub async fn connect_ledger(&self) -> Result<tokio_postgres::Client> {
        let Store::Distributed { urls, namespace, .. } = &self.store else { bail!("the ledger is a file") };
        for url in &urls.postgres {
            let mut server: tokio_postgres::Config = url.parse()?;
            server.target_session_attrs(TargetSessionAttrs::ReadWrite).connect_timeout(SILENT_MAX);
            let Ok((client, connection)) = server.connect(NoTls).await else { continue };
            tokio::spawn(connection);
            client.batch_execute(&format!("SET search_path TO {namespace:?}")).await?;
            return Ok(client);
        }
        bail!("no PostgreSQL takes writes")
    }

    /// The one text that a query of the embedded store answers with.
    ///
    /// # Errors
    /// If the backend is not embedded, or the store cannot be read.
    pub fn text(&self, sql: &str) -> Result<String> {
        ensure!(matches!(self.store, Store::Embedded), "only the embedded store is a file");
        Ok(self.open_store()?.query_row(sql, [], |row| row.get(0))?)
    }

    fn open_store(&self) -> Result<rusqlite::Connection> {
        let path = self.data().join("tidegate.db");
        let store = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        store.busy_timeout(Duration::from_secs(5))?;
        Ok(store)
    }

    /// Waits until a query of the ledger answers with `expected`.
    ///
    /// # Errors
    /// If it does not.
    pub async fn until_number(&self, sql: &str, expected: i64, within: Duration) -> Result<()> {
        eventually(&format!("{sql} is {expected}"), within, || async {
            match self.number(sql).await {
                Ok(number) if number == expected => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// The text of a process's metrics.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn metrics(&self, program: &Program) -> Result<String> {
        let answer = self.http.get(format!("http://{}/metrics", program.admin)).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// The sum of a metric's lines that hold every one of `labels`, such as `handler="orders"`, over all processes.
    ///
    /// # Errors
    /// If one does not answer.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let mut sum = 0.0;
        for program in self.ingests.iter().chain(&self.workers) {
            let text = self.metrics(program).await?;
            let of_metric =
                text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
            let wanted = of_metric.filter(|line| labels.iter().all(|label| line.contains(label)));
            sum += wanted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>();
        }
        Ok(sum)
    }
}
