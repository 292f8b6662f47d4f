//! The load, as a process of its own.

use clap::Parser;
use tidegate_bench::load::{Plan, run};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    plan: Plan,
}

fn main() -> anyhow::Result<()> {
    run(&Arguments::parse().plan)
}
