//! One measurement: a load in a process of its own, and what each watched process cost while it was measured.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use tidegate_tests::program::binary;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::load::Sent;
use crate::usage::Watched;

/// What one load came to.
#[derive(Debug, Clone)]
pub struct Measured {
    /// What the load saw.
    pub sent: Sent,
    /// Seconds of processor time of each watched process, in their order.
    pub cpu_seconds: Vec<f64>,
    /// Resident bytes of each at the end.
    pub resident: Vec<u64>,
}

impl Measured {
    /// Answers 200 a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.sent.accepted as f64 / self.sent.seconds
    }

    /// Microseconds of processor time for each answer, of the watched process at `place`.
    #[must_use]
    pub fn cpu_micros(&self, place: usize) -> f64 {
        self.cpu_seconds.get(place).map_or(0.0, |seconds| seconds * 1e6 / self.sent.accepted.max(1) as f64)
    }

    /// The median latency in milliseconds.
    #[must_use]
    pub fn p50_ms(&self) -> f64 {
        self.sent.p50 as f64 / 1e3
    }

    /// The 99th percentile of latencies in milliseconds.
    #[must_use]
    pub fn p99_ms(&self) -> f64 {
        self.sent.p99 as f64 / 1e3
    }
}

/// Runs a load program, and measures `watched` from its `begin` to its `end`.
///
/// # Errors
/// If it fails, or a watched process is gone.
pub async fn measure(program: &str, arguments: &[String], watched: &[Watched]) -> Result<Measured> {
    let mut command = Command::new(binary(program)?);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("standard output is piped")?).lines();
    until(&mut lines, "begin").await?;
    let before = cpu(watched)?;
    until(&mut lines, "end").await?;
    let after = cpu(watched)?;
    let resident = watched.iter().map(Watched::resident).collect::<Result<_>>()?;
    let sent = lines.next_line().await?.context("the load says nothing of its outcome")?;
    anyhow::ensure!(child.wait().await?.success(), "{program} failed");
    let cpu_seconds = before.iter().zip(&after).map(|(before, after)| after - before).collect();
    Ok(Measured { sent: serde_json::from_str(&sent)?, cpu_seconds, resident })
}

fn cpu(watched: &[Watched]) -> Result<Vec<f64>> {
    watched.iter().map(Watched::cpu_seconds).collect()
}

async fn until(lines: &mut Lines<BufReader<ChildStdout>>, word: &str) -> Result<()> {
    while let Some(line) = lines.next_line().await? {
        if line == word {
            return Ok(());
        }
    }
    anyhow::bail!("the load ended before it said {word}")
}
