//! `cargo xtask chaos`: the programs as they are released, broken under load.

use std::process::Command;

use anyhow::Result;

use crate::{cargo, root, run};

pub(crate) fn chaos(arguments: &[String]) -> Result<()> {
    run(cargo().args(["build", "--release", "--workspace", "--bins"]))?;
    let target = std::env::current_exe()?;
    // This program lies in target/<profile>.
    let target = target.ancestors().nth(2).map_or_else(|| root().join("target"), std::path::Path::to_owned);
    run(Command::new(target.join("release/tidegate-chaos")).args(arguments))
}
