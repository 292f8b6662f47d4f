//! The price of each promise: the path with one of its safeties left out, against the path as it is.
//!
//! Only the programs in the folder `price` can do that: `cargo xtask bench` builds them with a feature of their own.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tidegate_tests::program::binary;

use super::apply::{fill, watch};
use super::{Bench, Load};
use crate::measure::Measured;
use crate::report::Finding;
use crate::site::{Setup, Site};

const NAME: &str = "price";
const EVENTS: usize = 40_000;

/// What each safety costs: in processor time, and in events a second.
///
/// # Errors
/// If something of it fails.
pub async fn price(bench: &Bench) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (what, program, is_embedded, without) in [
        ("ingest-distributed without the claim", "tidegate-ingest", false, "claim"),
        ("ingest-distributed without the confirm", "tidegate-ingest", false, "confirm"),
        ("ingest-distributed, verify only", "tidegate-ingest", false, "claim,publish"),
        ("ingest-embedded without the fsync", "bench-door", true, "fsync"),
    ] {
        let (mut cpu, mut rate) = (Vec::new(), Vec::new());
        for _ in 0..bench.effort.rounds {
            let safe = received(bench, program, is_embedded, "").await?;
            let unsafe_one = received(bench, program, is_embedded, without).await?;
            cpu.push(safe.cpu_micros(0) - unsafe_one.cpu_micros(0));
            rate.push(unsafe_one.rate() / safe.rate());
        }
        findings.push(Finding::new(NAME, &format!("{what}: CPU us an event less"), cpu));
        findings.push(Finding::new(NAME, &format!("{what}: events/s, times those with it"), rate));
    }
    let mut rate = Vec::new();
    for _ in 0..bench.effort.rounds {
        let safe = applied(bench, "").await?;
        rate.push(applied(bench, "inbox").await? / safe);
    }
    findings.push(Finding::new(NAME, "worker without the inbox row: effects/s, times those with it", rate));
    Ok(findings)
}

fn priced(name: &str) -> Result<PathBuf> {
    let folder = binary("tidegate-bench")?.parent().context("a folder")?.join("price");
    let path = folder.join(name);
    anyhow::ensure!(path.exists(), "{} is not built; run `cargo xtask bench`", path.display());
    Ok(path)
}

fn leaving_out(what: &str) -> [(String, String); 1] {
    [("TIDEGATE_PRICE_WITHOUT".to_owned(), what.to_owned())]
}

async fn received(bench: &Bench, program: &'static str, is_embedded: bool, without: &str) -> Result<Measured> {
    let servers = (!is_embedded).then(|| Arc::clone(&bench.servers));
    let mut site = Site::new(servers, Setup::default())?;
    let door = site.start_at(&priced(program)?, program, &leaving_out(without)).await?;
    let measured = Load::closed(bench.effort, 64).run(site.door()?, &[door]).await?;
    site.end().await?;
    Ok(measured)
}

async fn applied(bench: &Bench, without: &str) -> Result<f64> {
    let mut site = Site::new(Some(Arc::clone(&bench.servers)), Setup::default())?;
    site.start("tidegate-ingest").await?;
    fill(bench, &site, EVENTS).await?;
    site.stop_all().await?;
    let worker = site.start_at(&priced("bench-worker")?, "bench-worker", &leaving_out(without)).await?;
    let drained = watch(&site, EVENTS as u64, &[worker]).await?;
    site.end().await?;
    Ok(drained.rate)
}
