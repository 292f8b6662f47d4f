//! `tidegate-worker` with the handlers that are measured.

use std::process::ExitCode;

use tidegate_bench::handler::{Count, Refuse, Slow};
use tidegate_worker::Worker;

fn main() -> ExitCode {
    Worker::new()
        .handler("count", |_config| Ok(Count))
        .handler("slow", |_config| Ok(Slow))
        .handler("refuse", |_config| Ok(Refuse))
        .main()
}
