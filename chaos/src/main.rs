//! `cargo xtask chaos`: breaks Tidegate under load, and accounts for every event.
#![expect(clippy::print_stdout, reason = "a command line program answers on standard output")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use fastrand::Rng;
use jiff::Timestamp;
use tidegate_chaos::report::{Report, Tally};
use tidegate_chaos::round;
use tidegate_chaos::scenario::{self, Scenario};
use tidegate_chaos::site::{Publisher, Shape, Site};
use tidegate_tests::install::ensure_servers;
use tidegate_tests::stack::Servers;

/// A round is no longer than this, so that a discrepancy is found soon and logs stay small.
const ROUND_MAX: Duration = Duration::from_secs(150);

/// Breaks Tidegate under load, and accounts for every event.
#[derive(Debug, Parser)]
struct Arguments {
    /// What is to go wrong; see --list.
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Every scenario.
    #[arg(long)]
    all: bool,
    /// Minutes of load, over all scenarios.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// What events, faults and their times follow from; a new one each time if it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Where to write the report.
    #[arg(long, value_name = "FILE", default_value = "chaos-report.json")]
    report: PathBuf,
    /// Programs of an older build, in this folder: every round begins with those, and what is started again is of this one.
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,
    /// List the scenarios.
    #[arg(long)]
    list: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        scenario::ALL.iter().for_each(|scenario| println!("{:<16}  {}", scenario.name, scenario.about));
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run(&arguments))
}

impl Arguments {
    fn scenarios(&self) -> Result<Vec<Scenario>> {
        if self.all {
            return Ok(scenario::ALL.to_vec());
        }
        if self.scenarios.is_empty() {
            bail!("name a scenario, or say --all; --list shows them");
        }
        let named = |name: &String| Scenario::named(name).with_context(|| format!("there is no {name}; see --list"));
        self.scenarios.iter().map(named).collect()
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let scenarios = arguments.scenarios()?;
    let seed = arguments.seed.unwrap_or_else(|| Rng::new().u64(..1_000_000));
    let each = Duration::from_secs_f64(arguments.minutes * 60.0 / scenarios.len() as f64);
    let mut report = Report { seed, began: Timestamp::now().to_string(), scenarios: Vec::new(), failure: None };
    println!("seed {seed}, {:.1} minutes of each of {} scenarios", each.as_secs_f64() / 60.0, scenarios.len());
    if scenarios.iter().any(|scenario| matches!(scenario.shape, Shape::Distributed { .. })) {
        ensure_servers().await?;
    }
    for scenario in &scenarios {
        let mut tally = Tally::of(scenario.name);
        let outcome = run_scenario(scenario, arguments.from.as_deref(), seed, each, &mut tally).await;
        report.scenarios.push(tally);
        std::fs::write(&arguments.report, serde_json::to_vec_pretty(&report)?)?;
        if let Err(error) = outcome {
            report.failure = Some(format!("{error:#}"));
            break;
        }
    }
    std::fs::write(&arguments.report, serde_json::to_vec_pretty(&report)?)?;
    println!("\n{}\n\n{}\n\n{}", report.table(), report.faults(), report.rounds());
    report.scenarios.iter().filter_map(|tally| tally.growth.as_ref()).for_each(|growth| println!("{growth}"));
    println!("report: {}", arguments.report.display());
    match &report.failure {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => {
            println!("\nFAILED: {failure}");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn run_scenario(
    scenario: &Scenario,
    from: Option<&Path>,
    seed: u64,
    length: Duration,
    tally: &mut Tally,
) -> Result<()> {
    let servers = match scenario.shape {
        Shape::Embedded { .. } => None,
        Shape::Distributed { .. } => Some(Servers::own().await?),
    };
    // Without faults one round is as long as it gets: growth shows late.
    let round_max = if scenario.faults.is_empty() { length } else { ROUND_MAX };
    let rounds = (length.as_secs_f64() / round_max.as_secs_f64()).ceil().max(1.0);
    for number in 0..rounds as u64 {
        // Each round has a seed of its own that the first one's leads to.
        let seed = seed.wrapping_add(number * 1_000_003);
        let publisher = Publisher::of_seed(seed);
        let site = Site::start(scenario.shape, servers.as_ref().map(Arc::clone), from, publisher).await?;
        let published = site.published();
        round::run(scenario, site, seed, length.div_f64(rounds), tally).await?;
        println!(
            "{}: round {} of {rounds}, publisher {published}, {} events, {} faults, lost 0, twice 0",
            scenario.name,
            number + 1,
            tally.events,
            tally.faults.values().sum::<u64>()
        );
    }
    Ok(())
}
