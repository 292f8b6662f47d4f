//! `tidegate dev` with the handler whose effects are counted.

use std::process::ExitCode;

use tidegate_chaos::handler::Effect;
use tidegate_worker::Registry;

fn main() -> ExitCode {
    tidegate::dev(&Registry::new().with("effect", |_config| Ok(Effect)))
}
