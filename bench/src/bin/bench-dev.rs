//! `tidegate dev` with the handlers that are measured.

use std::process::ExitCode;

use tidegate_bench::handler::{Count, Refuse, Slow};
use tidegate_worker::Registry;

fn main() -> ExitCode {
    tidegate::dev(
        &Registry::new()
            .with("count", |_config| Ok(Count))
            .with("slow", |_config| Ok(Slow))
            .with("refuse", |_config| Ok(Refuse)),
    )
}
