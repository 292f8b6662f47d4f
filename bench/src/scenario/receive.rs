//! Receiving: what the door costs beside a server that only reads.

use std::sync::Arc;

use anyhow::Result;

use super::{Bench, Load};
use crate::measure::{Measured, measure};
use crate::report::Finding;
use crate::site::{Setup, Site};
use crate::usage::Watched;

const CONNECTIONS: usize = 64;
const MANY_CONNECTIONS: usize = 1_000;
const MIB: f64 = 1_048_576.0;

/// The door on the embedded store: claim and event in one commit, synced before each answer.
///
/// # Errors
/// If something of it fails.
pub async fn embedded(bench: &Bench) -> Result<Vec<Finding>> {
    const NAME: &str = "ingest-embedded";
    let mut site = Site::new(None, Setup::default())?;
    let door = site.start("bench-door").await?;
    let (mut findings, _) = beside_axum(bench, NAME, &site, std::slice::from_ref(&door), &[2.2, 0.60]).await?;
    let many = Load::closed(bench.effort, MANY_CONNECTIONS).run(site.door()?, &[door]).await?;
    findings
        .push(Finding::new(NAME, "resident MiB at 1,000 connections", [many.resident[0] as f64 / MIB]).at_most(64.0));
    site.end().await?;
    // All of it in one process, which applies the events as they come.
    let mut whole = Site::new(None, Setup::default())?;
    let program = whole.start("bench-dev").await?;
    let all = Load::closed(bench.effort, CONNECTIONS).run(whole.door()?, &[program]).await?;
    findings.push(Finding::new(NAME, "CPU us an event, applied in the same process too", [all.cpu_micros(0)]));
    whole.end().await?;
    Ok(findings)
}

/// The door on Redis and RabbitMQ: claim, confirmed mandatory publish to a quorum queue, marker.
///
/// # Errors
/// If something of it fails.
pub async fn distributed(bench: &Bench) -> Result<Vec<Finding>> {
    const NAME: &str = "ingest-distributed";
    let mut site = Site::new(Some(Arc::clone(&bench.servers)), Setup::default())?;
    let door = site.start("tidegate-ingest").await?;
    let broker = Watched::listening_on("RabbitMQ", bench.servers.rabbitmq.addr())?;
    let redis = Watched::listening_on("Redis", bench.servers.redis.addr())?;
    let watched = [door.clone(), broker.clone(), redis];
    let (mut findings, subjects) = beside_axum(bench, NAME, &site, &watched, &[2.0, 0.0]).await?;
    for (place, who) in [(1, "RabbitMQ"), (2, "Redis")] {
        let figures = subjects.iter().map(|subject| subject.cpu_micros(place));
        findings.push(Finding::new(NAME, &format!("CPU us an event of {who}"), figures));
    }
    let mut shares = Vec::new();
    let mut raws = Vec::new();
    for _ in 0..bench.effort.rounds {
        let raw = publish(bench, &site, std::slice::from_ref(&broker)).await?;
        site.purge().await?;
        let subject = Load::closed(bench.effort, CONNECTIONS).run(site.door()?, &watched).await?;
        site.purge().await?;
        shares.push(subject.rate() / raw.rate());
        raws.push(raw.rate());
    }
    findings.push(Finding::new(NAME, "messages/s of the raw publisher", raws));
    findings.push(Finding::new(NAME, "events/s, share of the raw publisher's", shares).at_least(0.60));
    let many = Load::closed(bench.effort, MANY_CONNECTIONS).run(site.door()?, &[door]).await?;
    findings.push(Finding::new(NAME, "resident MiB at 1,000 connections", [many.resident[0] as f64 / MIB]));
    site.end().await?;
    findings.extend(by_lapin(bench).await?);
    Ok(findings)
}

/// The same with the client library as the publisher.
async fn by_lapin(bench: &Bench) -> Result<Vec<Finding>> {
    const NAME: &str = "ingest-lapin";
    let setup = Setup { publisher: "lapin", ..Setup::default() };
    let mut site = Site::new(Some(Arc::clone(&bench.servers)), setup)?;
    let door = site.start("tidegate-ingest").await?;
    let load = Load::closed(bench.effort, CONNECTIONS);
    let (mut cpu, mut rate) = (Vec::new(), Vec::new());
    for _ in 0..bench.effort.rounds {
        let baseline = bench.baseline(&load).await?;
        let subject = load.run(site.door()?, std::slice::from_ref(&door)).await?;
        site.purge().await?;
        cpu.push(subject.cpu_micros(0) / baseline.cpu_micros(0));
        rate.push(subject.rate());
    }
    site.end().await?;
    Ok(vec![Finding::new(NAME, "CPU an event, times bare axum's", cpu), Finding::new(NAME, "events/s", rate)])
}

/// Baseline and subject in turn; the first watched process is the subject. `targets`: CPU at most, rate at least.
async fn beside_axum(
    bench: &Bench,
    name: &str,
    site: &Site,
    watched: &[Watched],
    targets: &[f64; 2],
) -> Result<(Vec<Finding>, Vec<Measured>)> {
    let load = Load::closed(bench.effort, CONNECTIONS);
    let (mut baselines, mut subjects) = (Vec::new(), Vec::new());
    for _ in 0..bench.effort.rounds {
        baselines.push(bench.baseline(&load).await?);
        subjects.push(load.run(site.door()?, watched).await?);
        site.purge().await?;
    }
    let ratios = |of: &dyn Fn(&Measured) -> f64| -> Vec<f64> {
        baselines.iter().zip(&subjects).map(|(baseline, subject)| of(subject) / of(baseline)).collect()
    };
    let cpu = ratios(&|run| run.cpu_micros(0));
    let rate = ratios(&Measured::rate);
    let of = |figures: &dyn Fn(&Measured) -> f64, runs: &[Measured]| runs.iter().map(figures).collect::<Vec<_>>();
    let share = Finding::new(name, "events/s, share of bare axum's", rate);
    let share = if targets[1] > 0.0 { share.at_least(targets[1]) } else { share };
    let findings = vec![
        Finding::new(name, "CPU an event, times bare axum's", cpu).at_most(targets[0]),
        share,
        Finding::new(name, "bare axum: CPU us a request", of(&|run| run.cpu_micros(0), &baselines)),
        Finding::new(name, "bare axum: requests/s", of(&Measured::rate, &baselines)),
        Finding::new(name, "CPU us an event", of(&|run| run.cpu_micros(0), &subjects)),
        Finding::new(name, "events/s", of(&Measured::rate, &subjects)),
        Finding::new(name, "p50 ms at saturation", of(&Measured::p50_ms, &subjects)),
        Finding::new(name, "p99 ms at saturation", of(&Measured::p99_ms, &subjects)),
        Finding::new(name, "resident MiB at 64 connections", of(&|run| run.resident[0] as f64 / MIB, &subjects))
            .at_most(25.0),
    ];
    Ok((findings, subjects))
}

/// What one connection can publish to the same exchange, with as many in flight as the load has connections.
async fn publish(bench: &Bench, site: &Site, watched: &[Watched]) -> Result<Measured> {
    let (exchange, routing_key) = site.exchange();
    let arguments = [
        format!("--to={}", bench.servers.rabbitmq.addr()),
        format!("--exchange={exchange}"),
        format!("--routing-key={routing_key}"),
        format!("--in-flight={CONNECTIONS}"),
        format!("--seconds={}", bench.effort.seconds),
    ];
    measure("bench-publish", &arguments, watched).await
}
