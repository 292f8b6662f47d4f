//! `tidegate-worker` with the handler whose effects are counted.

use std::process::ExitCode;

use tidegate_chaos::handler::Effect;
use tidegate_worker::Worker;

fn main() -> ExitCode {
    Worker::new().handler("effect", |_config| Ok(Effect)).main()
}
