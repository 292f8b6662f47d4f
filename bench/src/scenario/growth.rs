//! Growth: the same work beside millions of rows, messages and claims as beside none. Upkeep: what old and dead events cost
//! beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tidegate_tests::sender::client;

use super::apply::{Drained, fill, watch};
use super::{Bench, Load};
use crate::measure::Measured;
use crate::report::Finding;
use crate::site::{Setup, Site};
use crate::usage::Watched;

const NAME: &str = "growth";
const UPKEEP: &str = "upkeep";
/// Inbox rows of events that were applied long ago.
const ROWS: u64 = 10_000_000;
/// Events that wait in the queue, each with its claim.
const QUEUED: usize = 1_000_000;
/// Events whose cost is measured.
const SAMPLE: usize = 60_000;
/// Dead letters that are replayed.
const DEAD: usize = 100_000;
/// Events that a sweep finds to be too old: more than it comes to in the window.
const OLD: u64 = 500_000;
/// From a worker's start until it sweeps, for the first time.
const SWEEP: Duration = Duration::from_secs(62);
/// In which effects are counted.
const WINDOW: Duration = Duration::from_secs(25);
/// Pairs of a run without a sweep and one with it.
const SWEEP_ROUNDS: usize = 3;
const MIB: f64 = 1_048_576.0;

/// The cost of an event in both states.
///
/// # Errors
/// If something of it fails.
pub async fn growth(bench: &Bench) -> Result<Vec<Finding>> {
    let mut site = Site::new(Some(Arc::clone(&bench.servers)), Setup::default())?;
    let empty = cost(bench, &mut site).await?;
    say(&format!("empty: {empty:?}"));
    // Tables are there now; the rows of a long life follow.
    site.ledger().await?.batch_execute(&rows_of_a_long_life()).await?;
    site.start("tidegate-ingest").await?;
    fill(bench, &site, QUEUED).await?;
    site.stop_all().await?;
    let full = cost(bench, &mut site).await?;
    say(&format!("full: {full:?}"));
    site.end().await?;
    let times = |who: &str, full: &[f64], empty: &[f64]| {
        let ratio = full.iter().sum::<f64>() / empty.iter().sum::<f64>();
        let what = format!("{who}: CPU of an event in all processes, times that of the empty system");
        Finding::new(NAME, &what, [ratio]).at_most(1.3)
    };
    Ok(vec![times("ingest", &full.received, &empty.received), times("worker", &full.applied, &empty.applied)])
}

/// Claims in Redis, a sweep beside the load, and a large replay.
///
/// # Errors
/// If something of it fails.
pub async fn upkeep(bench: &Bench) -> Result<Vec<Finding>> {
    let mut site = Site::new(Some(Arc::clone(&bench.servers)), Setup::default())?;
    let before = redis_memory(bench).await?;
    site.start("tidegate-ingest").await?;
    fill(bench, &site, QUEUED).await?;
    site.stop_all().await?;
    let after = redis_memory(bench).await?;
    let (bytes, keys) = (after.0.checked_sub(before.0).context("claims take memory")?, after.1 - before.1);
    let bytes = bytes as f64 / keys.max(1) as f64;
    let claims = Finding::new(UPKEEP, "bytes of Redis for a claim", [bytes]).at_most(160.0);
    site.end().await?;
    Ok(vec![claims, sweep_beside_load(bench).await?, replay(bench).await?])
}

/// Microseconds of processor time for an event, of each process that has to do with it.
#[derive(Debug)]
struct Cost {
    /// Of the ingest, RabbitMQ and Redis.
    received: Vec<f64>,
    /// Of the worker, RabbitMQ and PostgreSQL.
    applied: Vec<f64>,
}

async fn cost(bench: &Bench, site: &mut Site) -> Result<Cost> {
    let servers = &bench.servers;
    let broker = Watched::listening_on("RabbitMQ", servers.rabbitmq.addr())?;
    let redis = Watched::listening_on("Redis", servers.redis.addr())?;
    let postgres = Watched::listening_on("PostgreSQL", servers.postgres.addr())?;
    let ingest = site.start("tidegate-ingest").await?;
    let load = Load { events: SAMPLE, seconds: 600.0, ..Load::closed(bench.effort, 64) };
    let received: Measured = load.run(site.door()?, &[ingest, broker.clone(), redis]).await?;
    site.stop_all().await?;
    let worker = site.start("bench-worker").await?;
    let Drained { cpu_micros: applied, .. } = watch(site, SAMPLE as u64, &[worker, broker, postgres]).await?;
    site.stop_all().await?;
    Ok(Cost { received: (0..3).map(|place| received.cpu_micros(place)).collect(), applied })
}

/// Inbox rows, as retention leaves them until they are old enough. The effects go: counting more of them costs more.
fn rows_of_a_long_life() -> String {
    format!(
        "SET synchronous_commit TO off;
         INSERT INTO inbox (event_key, handler, epoch, source, attempts, applied_at)
         SELECT sha256(('old-' || n)::bytea), 'bench', 0, 'bench', 1, extract(epoch FROM now())::bigint * 1000
         FROM generate_series(1, {ROWS}) AS n;
         ANALYZE inbox;
         TRUNCATE bench_effects"
    )
}

/// Redis' memory in use, in bytes, and its keys; once what an earlier scenario left is freed, which it does by the way.
async fn redis_memory(bench: &Bench) -> Result<(u64, u64)> {
    let client = redis::Client::open(bench.servers.redis.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await?;
        let said = |name: &str| -> Result<u64> {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            Ok(value.with_context(|| format!("Redis does not say its {name}"))?.trim().parse()?)
        };
        if said("lazyfree_pending_objects")? == 0 {
            let keys: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await?;
            return Ok((said("used_memory")?, keys));
        }
        ensure!(Instant::now() < patience, "Redis does not free what was flushed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The rate of effects beside a sweep, against that without: on the same rows, in the same minute of a worker's life.
async fn sweep_beside_load(bench: &Bench) -> Result<Finding> {
    let mut shares = Vec::new();
    for _ in 0..SWEEP_ROUNDS {
        let without = second_minute(bench, "35d").await?;
        let with = second_minute(bench, "1d").await?;
        ensure!(without.left == OLD && with.left < OLD, "{without:?} without a sweep, {with:?} with it");
        say(&format!("without a sweep {without:?}, with it {with:?}"));
        shares.push(with.rate / without.rate);
    }
    Ok(Finding::new(UPKEEP, "effects/s beside a sweep, share of those without", shares).at_least(0.90))
}

/// What came of a run with old events.
#[derive(Debug)]
struct SecondMinute {
    /// Effects a second.
    rate: f64,
    /// Old events that are still there.
    left: u64,
}

/// Full load on an ingest and a worker beside old events, of which the worker keeps those that are not older than
/// `retention`.
async fn second_minute(bench: &Bench, retention: &'static str) -> Result<SecondMinute> {
    let mut site = Site::new(Some(Arc::clone(&bench.servers)), Setup { retention, ..Setup::default() })?;
    site.start("tidegate-ingest").await?;
    let started = Instant::now();
    site.start("bench-worker").await?;
    site.ledger().await?.batch_execute(&rows_to_forget()).await?;
    let seconds = (SWEEP + WINDOW).as_secs_f64();
    let load = Load { seconds, events: QUEUED, ..Load::closed(bench.effort, 64) };
    let measured = async {
        tokio::time::sleep(SWEEP.saturating_sub(started.elapsed())).await;
        let rate = rate(&site, WINDOW).await?;
        let left = site.number("SELECT count(*) FROM events WHERE event_id LIKE 'old-%'").await?;
        Ok(SecondMinute { rate, left })
    };
    let (_, minute) = tokio::try_join!(load.run(site.door()?, &[]), measured)?;
    site.end().await?;
    Ok(minute)
}

/// Events that were applied two days ago.
fn rows_to_forget() -> String {
    let long_ago = "(extract(epoch FROM now())::bigint - 172800) * 1000";
    format!(
        "SET synchronous_commit TO off;
         INSERT INTO events (event_key, source, event_id, event_type, received_at, request_id, handlers)
         SELECT sha256(('old-' || n)::bytea), 'bench', 'old-' || n, 'bench.event', {long_ago}, 'old', 'bench'
         FROM generate_series(1, {OLD}) AS n;
         INSERT INTO inbox (event_key, handler, epoch, source, attempts, applied_at)
         SELECT event_key, 'bench', 0, 'bench', 1, received_at FROM events WHERE event_id LIKE 'old-%';
         ANALYZE"
    )
}

async fn rate(site: &Site, window: Duration) -> Result<f64> {
    let (began, before) = (Instant::now(), site.effects().await?);
    tokio::time::sleep(window).await;
    let after = site.effects().await?;
    ensure!(after > before, "nothing was applied");
    Ok((after - before) as f64 / began.elapsed().as_secs_f64())
}

/// Memory that the worker takes more while it replays many dead letters, in MiB.
async fn replay(bench: &Bench) -> Result<Finding> {
    let mut site = Site::new(Some(Arc::clone(&bench.servers)), Setup { run: "refuse", ..Setup::default() })?;
    site.start("tidegate-ingest").await?;
    fill(bench, &site, DEAD).await?;
    site.stop_all().await?;
    site.start("bench-worker").await?;
    let dead = "SELECT count(*) FROM dead_letters WHERE status = 'dead'";
    let patience = Instant::now() + Duration::from_secs(600);
    while site.number(dead).await? < DEAD as u64 {
        ensure!(Instant::now() < patience, "the dead letters do not come");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    site.stop_all().await?;
    site.set_up(Setup::default())?;
    let worker = site.start("bench-worker").await?;
    let url = format!("http://{}/v1/dead-letters/replay", site.programs.first().context("a program")?.admin);
    let before = worker.resident()?;
    let mut most = before;
    loop {
        let asked = client().post(&url).body(r#"{"all":true,"limit":1000}"#).header("content-type", "application/json");
        let answer: serde_json::Value = serde_json::from_slice(&asked.send().await?.bytes().await?)?;
        most = most.max(worker.resident()?);
        if answer["remaining"].as_u64().with_context(|| answer.to_string())? == 0 {
            break;
        }
    }
    site.end().await?;
    let more = most.saturating_sub(before) as f64 / MIB;
    Ok(Finding::new(UPKEEP, "MiB more while 100,000 dead letters are replayed", [more]).at_most(32.0))
}

#[expect(clippy::print_stdout, reason = "this takes minutes")]
fn say(text: &str) {
    println!("  {text}");
}
