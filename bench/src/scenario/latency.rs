//! Latency at a steady rate, counted from the time at which a request was due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::{Bench, Load};
use crate::load::percentile;
use crate::measure::Measured;
use crate::report::Finding;
use crate::site::{Setup, Site};

/// Events a second whose answers are timed.
const ANSWERED: f64 = 2_000.0;
/// Events a second whose effects are timed.
const APPLIED: f64 = 1_000.0;
/// Between two looks at the effects: as much is added to what is found.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Time for the last effect.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers on both backends, then effects on both.
///
/// # Errors
/// If something of it fails.
pub async fn latency(bench: &Bench) -> Result<Vec<Finding>> {
    const NAME: &str = "latency";
    let mut findings = Vec::new();
    let load = Load::open(bench.effort, ANSWERED);
    let mut answered = Vec::new();
    for _ in 0..bench.effort.rounds {
        answered.push(bench.baseline(&load).await?);
    }
    findings.push(Finding::new(NAME, "bare axum: p99 ms at 2,000/s", answered.iter().map(Measured::p99_ms)));
    for (way, door, servers, target) in [
        ("embedded", "bench-door", None, 2.5),
        ("distributed", "tidegate-ingest", Some(Arc::clone(&bench.servers)), 4.0),
    ] {
        let mut site = Site::new(servers, Setup::default())?;
        let door = site.start(door).await?;
        let mut answered = Vec::new();
        for _ in 0..bench.effort.rounds {
            answered.push(load.run(site.door()?, std::slice::from_ref(&door)).await?);
            site.purge().await?;
        }
        let p50 = format!("{way}: p50 ms at 2,000/s");
        findings.push(Finding::new(NAME, &p50, answered.iter().map(Measured::p50_ms)));
        let p99 = format!("{way}: p99 ms at 2,000/s");
        findings.push(Finding::new(NAME, &p99, answered.iter().map(Measured::p99_ms)).at_most(target));
        site.end().await?;
    }
    for (way, servers) in [("embedded", None), ("distributed", Some(Arc::clone(&bench.servers)))] {
        let mut found = [Vec::new(), Vec::new()];
        for _ in 0..bench.effort.rounds {
            let [p50, p99] = until_applied(bench, servers.clone()).await?;
            found[0].push(p50);
            found[1].push(p99);
        }
        let [p50, p99] = found;
        findings.push(Finding::new(NAME, &format!("{way}: p50 ms from 2xx to applied, 1,000/s"), p50));
        findings.push(Finding::new(NAME, &format!("{way}: p99 ms from 2xx to applied, 1,000/s"), p99).at_most(25.0));
    }
    Ok(findings)
}

/// Half and 99 of a hundred effects can be read so many milliseconds after their sender has read 2xx.
async fn until_applied(bench: &Bench, servers: Option<Arc<tidegate_tests::stack::Servers>>) -> Result<[f64; 2]> {
    let is_embedded = servers.is_none();
    let mut site = Site::new(servers, Setup::default())?;
    let first = site.start(if is_embedded { "bench-dev" } else { "tidegate-ingest" }).await?;
    if !is_embedded {
        site.start("bench-worker").await?;
    }
    let answers = site.path("answers");
    let load = Load { answers: Some(answers.clone()), ..Load::open(bench.effort, APPLIED) };
    let (door, watched) = (site.door()?, [first]);
    let (measured, seen) = tokio::try_join!(load.run(door, &watched), watch_effects(&site, load.events))?;
    drop(measured);
    let mut latencies = Vec::new();
    for line in std::fs::read_to_string(&answers)?.lines() {
        let (number, at) = line.split_once(' ').context("a line of two numbers")?;
        let answered: i64 = at.parse()?;
        let applied = seen.get(number).with_context(|| format!("event {number} was not applied"))?;
        // One that was applied before its sender had read the answer did not wait.
        latencies.push(u64::try_from(applied.saturating_sub(answered)).unwrap_or(0));
    }
    latencies.sort_unstable();
    site.end().await?;
    Ok([0.5, 0.99].map(|share| percentile(&latencies, share) as f64 / 1e3))
}

/// When each event's effect was first seen, in microseconds since 1970, until `count` are.
async fn watch_effects(site: &Site, count: usize) -> Result<HashMap<String, i64>> {
    let mut effects = Effects::open(site).await?;
    let mut seen = HashMap::with_capacity(count);
    let mut last_news = tokio::time::Instant::now();
    while seen.len() < count {
        let fresh = effects.fresh().await?;
        let now = Timestamp::now().as_microsecond();
        if !fresh.is_empty() {
            last_news = tokio::time::Instant::now();
        }
        // The load does not send what is due after its end.
        if last_news.elapsed() > Duration::from_secs(5) && !seen.is_empty() {
            break;
        }
        anyhow::ensure!(last_news.elapsed() < PATIENCE, "no effect was seen");
        for id in fresh {
            let number = id.rsplit_once('-').map_or(id.as_str(), |(_, number)| number).to_owned();
            seen.entry(number).or_insert(now);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(seen)
}

/// Effects in the order of their commits: one worker's groups for one handler commit one after the other.
enum Effects<'a> {
    Embedded { store: rusqlite::Connection, after: i64 },
    Distributed { ledger: &'a tokio_postgres::Client, looked: tokio_postgres::Statement, after: i64 },
}

impl<'a> Effects<'a> {
    async fn open(site: &'a Site) -> Result<Self> {
        if let Ok(store) = site.open_store() {
            return Ok(Self::Embedded { store, after: 0 });
        }
        let ledger = site.ledger().await?;
        ledger
            .batch_execute("ALTER TABLE bench_effects ADD COLUMN n BIGSERIAL; CREATE INDEX ON bench_effects (n)")
            .await?;
        let looked = ledger.prepare("SELECT n, event_id FROM bench_effects WHERE n > $1").await?;
        Ok(Self::Distributed { ledger, looked, after: 0 })
    }

    async fn fresh(&mut self) -> Result<Vec<String>> {
        let (rows, after): (Vec<(i64, String)>, _) = match self {
            Self::Embedded { store, after } => {
                let mut prepared =
                    store.prepare_cached("SELECT rowid, event_id FROM bench_effects WHERE rowid > ?1")?;
                let rows = prepared.query_map([*after], |row| Ok((row.get(0)?, row.get(1)?)))?;
                (rows.collect::<Result<_, _>>()?, after)
            }
            Self::Distributed { ledger, looked, after } => {
                let rows = ledger.query(&*looked, &[&*after]).await?;
                (rows.iter().map(|row| (row.get(0), row.get(1))).collect(), after)
            }
        };
        *after = rows.iter().map(|(row, _)| *row).max().unwrap_or(*after);
        Ok(rows.into_iter().map(|(_, id)| id).collect())
    }
}
