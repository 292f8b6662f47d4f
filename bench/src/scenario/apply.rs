//! Applying: exactly-once effects from a queue that is full when the worker starts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Bench, Load};
use crate::report::Finding;
use crate::site::{Setup, Site};
use crate::usage::Watched;

/// Counts the effects this often: each time is a scan of all of them, which the ledger's server pays for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Time for all effects.
const PATIENCE: Duration = Duration::from_secs(300);

/// Groups against one commit an event, on both backends.
///
/// # Errors
/// If something of it fails.
pub async fn worker(bench: &Bench) -> Result<Vec<Finding>> {
    const NAME: &str = "worker";
    let mut findings = Vec::new();
    let events = if bench.effort.quick { 20_000 } else { 60_000 };
    let one_by_one = Setup { commit_batch_max: 1, ..Setup::default() };
    for way in ["embedded", "distributed"] {
        let (mut ratios, mut rates, mut single, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.effort.rounds {
            let slow = drain(bench, way, one_by_one, events / 10).await?;
            let fast = drain(bench, way, Setup::default(), events).await?;
            ratios.push(fast.rate / slow.rate);
            rates.push(fast.rate);
            single.push(slow.rate);
            cpu.push(fast.cpu_micros.iter().sum());
        }
        findings
            .push(Finding::new(NAME, &format!("{way}: effects/s, times one commit an event"), ratios).at_least(5.0));
        findings.push(Finding::new(NAME, &format!("{way}: effects/s"), rates));
        findings.push(Finding::new(NAME, &format!("{way}: effects/s with one commit an event"), single));
        let cpu = Finding::new(NAME, &format!("{way}: CPU us an event"), cpu);
        findings.push(if way == "distributed" { cpu.at_most(60.0) } else { cpu });
    }
    Ok(findings)
}

/// Four workers against one, where each event takes 50 ms.
///
/// # Errors
/// If something of it fails.
pub async fn scale_out(bench: &Bench) -> Result<Vec<Finding>> {
    const NAME: &str = "scale-out";
    let setup = Setup { run: "slow", concurrency: 16, ..Setup::default() };
    let seconds = if bench.effort.quick { 4 } else { 10 };
    let mut findings = Vec::new();
    let (mut ratios, mut four) = (Vec::new(), Vec::new());
    for _ in 0..bench.effort.rounds {
        let one = drain_with(bench, setup, 320 * seconds, 1).await?;
        let all = drain_with(bench, setup, 4 * 320 * seconds, 4).await?;
        ratios.push(all.rate / one.rate);
        four.push(all.rate);
    }
    findings.push(Finding::new(NAME, "four workers, times one", ratios).at_least(3.8));
    findings.push(Finding::new(NAME, "effects/s of four workers, 50 ms each, 16 at once", four));
    Ok(findings)
}

/// What draining a queue came to.
pub(super) struct Drained {
    pub(super) rate: f64,
    /// For an event, of each process that was watched.
    pub(super) cpu_micros: Vec<f64>,
}

async fn drain(bench: &Bench, way: &str, setup: Setup, events: usize) -> Result<Drained> {
    if way == "distributed" {
        return drain_with(bench, setup, events, 1).await;
    }
    let mut site = Site::new(None, setup)?;
    site.start("bench-door").await?;
    fill(bench, &site, events).await?;
    site.stop_all().await?;
    let program = site.start("bench-dev").await?;
    let drained = watch(&site, events as u64, &[program]).await?;
    site.end().await?;
    Ok(drained)
}

/// Fills the queue, then has so many workers empty it.
async fn drain_with(bench: &Bench, setup: Setup, events: usize, workers: usize) -> Result<Drained> {
    let mut site = Site::new(Some(Arc::clone(&bench.servers)), setup)?;
    site.start("tidegate-ingest").await?;
    fill(bench, &site, events).await?;
    site.stop_all().await?;
    let mut watched = Vec::new();
    for _ in 0..workers {
        watched.push(site.start("bench-worker").await?);
    }
    let drained = watch(&site, events as u64, &watched).await?;
    site.end().await?;
    Ok(drained)
}

/// Sends so many events, each accepted once.
pub(super) async fn fill(bench: &Bench, site: &Site, events: usize) -> Result<()> {
    let load = Load { seconds: 600.0, events, ..Load::closed(bench.effort, 64) };
    load.run(site.door()?, &[]).await.map(drop)
}

/// Takes the time from a tenth to nine tenths of `events` effects, when every worker is at work.
pub(super) async fn watch(site: &Site, events: u64, watched: &[Watched]) -> Result<Drained> {
    let started = Instant::now();
    let cpu = || watched.iter().map(Watched::cpu_seconds).collect::<Result<Vec<f64>>>();
    let mut first: Option<(Instant, u64, Vec<f64>)> = None;
    loop {
        let done = site.effects().await?;
        ensure!(started.elapsed() < PATIENCE, "{done} of {events} effects in {PATIENCE:?}");
        match &first {
            None if done >= events / 10 => first = Some((Instant::now(), done, cpu()?)),
            Some((at, from, spent)) if done >= events / 10 * 9 => {
                let count = (done - from) as f64;
                let rate = count / at.elapsed().as_secs_f64();
                let micros = cpu()?.iter().zip(spent).map(|(after, before)| (after - before) * 1e6 / count).collect();
                return Ok(Drained { rate, cpu_micros: micros });
            }
            None | Some(_) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
