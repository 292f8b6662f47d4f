//! `cargo xtask chaos` and `cargo xtask power-cut`: the programs as they are released, broken under load.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tidegate_tests::install::ensure_servers;

use crate::{cargo, root, run};

/// Breaks the programs under load, on servers that are found or installed for it.
pub(crate) fn chaos(arguments: &[String]) -> Result<()> {
    let only_tells = ["--list", "--help", "-h"].iter().any(|flag| arguments.iter().any(|argument| argument == flag));
    if !only_tells {
        tokio::runtime::Runtime::new()?.block_on(ensure_servers())?;
    }
    run_released("tidegate-chaos", arguments)
}

/// Builds everything as it is released, and runs one of the programs that break it.
pub(crate) fn run_released(program: &str, arguments: &[String]) -> Result<()> {
    run(cargo().args(["build", "--release", "--workspace", "--bins"]))?;
    run(cargo().args(["build", "--release", "--package", "tidegate-disk"]))?;
    run(Command::new(release_folder()?.join(program)).args(arguments))
}

/// Where programs lie that were built as they are released.
pub(crate) fn release_folder() -> Result<PathBuf> {
    let target = std::env::current_exe()?;
    // This program lies in target/<profile>.
    let target = target.ancestors().nth(2).map_or_else(|| root().join("target"), Path::to_owned);
    Ok(target.join("release"))
}
