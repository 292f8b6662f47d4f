//! `cargo xtask power-cut`: cuts the power after each step that a program's disk takes.
#![expect(clippy::print_stdout, reason = "a command line program answers on standard output")]

use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use fastrand::Rng;
use tidegate_chaos::power_cut::{Subject, cut};

/// Cuts the power after each step that a program's disk takes, and looks what is left.
#[derive(Debug, Parser)]
struct Arguments {
    /// Cuts, over the embedded store and the spool.
    #[arg(long, default_value_t = 1_000)]
    points: usize,
    /// Events that each of them takes.
    #[arg(long, default_value_t = 1_000)]
    events: u64,
    /// What events and what survives follow from; a new one each time if it is not given.
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| Rng::new().u64(..1_000_000));
    let points = arguments.points.div_ceil(Subject::ALL.len());
    println!("seed {seed}");
    for subject in Subject::ALL {
        let trace = subject.record(seed, arguments.events).await?;
        let began = Instant::now();
        cut(subject, &trace, points, seed)?;
        println!(
            "{}: {} events in {} steps, {points} cuts in {:.0} s, lost 0, damaged 0",
            subject.name(),
            arguments.events,
            trace.entries().len(),
            began.elapsed().as_secs_f64()
        );
    }
    Ok(())
}
