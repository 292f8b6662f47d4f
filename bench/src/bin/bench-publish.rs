//! The raw publisher, as a process of its own.

use clap::Parser;
use tidegate_bench::publisher::{Plan, run};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    plan: Plan,
}

fn main() -> anyhow::Result<()> {
    run(&Arguments::parse().plan)
}
