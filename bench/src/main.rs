//! `cargo xtask bench`: measures Tidegate side by side with what the machine allows.
#![expect(clippy::print_stdout, reason = "a command line program answers on standard output")]

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;
use tidegate_bench::chart;
use tidegate_bench::report::Report;
use tidegate_bench::scenario::{self, Bench, Effort};
use tidegate_bench::usage::machine;
use tidegate_tests::install::ensure_servers;

/// Measures Tidegate side by side with what the machine allows.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure; everything if nothing is named. See --list.
    #[arg(value_name = "SCENARIO", value_parser = PossibleValuesParser::new(scenario::ALL.map(|(name, _)| name)))]
    scenarios: Vec<String>,
    /// A look in under three minutes: fewer and shorter rounds, neither price, growth nor upkeep.
    #[arg(long)]
    quick: bool,
    /// Pairs of baseline and subject.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each load.
    #[arg(long)]
    seconds: Option<f64>,
    /// Where to write the report.
    #[arg(long, value_name = "FILE", default_value = "bench-report.json")]
    report: PathBuf,
    /// Where to draw the chart.
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// List the scenarios.
    #[arg(long)]
    list: bool,
}

impl Arguments {
    fn effort(&self) -> Effort {
        let (rounds, seconds) = if self.quick { (2, 1.5) } else { (5, 4.0) };
        let (rounds, seconds) = (self.rounds.unwrap_or(rounds), self.seconds.unwrap_or(seconds));
        Effort { rounds, seconds, quick: self.quick }
    }

    fn scenarios(&self) -> Vec<String> {
        if !self.scenarios.is_empty() {
            return self.scenarios.clone();
        }
        let all = scenario::ALL.iter().map(|(name, _)| (*name).to_owned());
        all.filter(|name| !(self.quick && matches!(name.as_str(), "growth" | "upkeep" | "price"))).collect()
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.list {
        scenario::ALL.iter().for_each(|(name, about)| println!("{name:<20}  {about}"));
        return Ok(());
    }
    ensure_servers().await?;
    let effort = arguments.effort();
    let bench = Bench::start(effort).await?;
    let mut report = Report {
        began: Timestamp::now().to_string(),
        machine: machine(),
        servers: bench.versions().await?,
        rounds: effort.rounds,
        findings: Vec::new(),
    };
    println!("on {}; {}; {} rounds of {} s", report.machine, report.servers, effort.rounds, effort.seconds);
    for name in arguments.scenarios() {
        let findings = bench.run(&name).await.with_context(|| format!("scenario {name}"))?;
        report.findings.extend(findings);
        println!("{name}: measured");
    }
    std::fs::write(&arguments.report, serde_json::to_vec_pretty(&report)?)?;
    if let Some(path) = &arguments.chart {
        std::fs::write(path, chart::draw(&report.findings))?;
    }
    println!("\n{}\n\nreport: {}", report.table(), arguments.report.display());
    Ok(())
}
