//! `cargo xtask bench`: the programs as they are released, measured beside what the machine allows.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::chaos::release_folder;
use crate::{cargo, run};

/// Programs that the scenario `price` runs in a build of their own.
const PRICED: [&str; 3] = ["bench-door", "bench-worker", "tidegate-ingest"];

/// Builds everything, and measures.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let release = release_folder()?;
    let mut priced = cargo();
    priced.args(["build", "--release", "--package", "tidegate-bench", "--package", "tidegate-ingest", "--bins"]);
    run(priced.args(["--features", "tidegate-bench/price"]))?;
    let folder = release.join("price");
    fs::create_dir_all(&folder)?;
    for name in PRICED {
        fs::copy(release.join(name), folder.join(name)).with_context(|| format!("{name} was not built"))?;
    }
    // Last, so that what lies there under the usual names is what is released.
    run(cargo().args(["build", "--release", "--workspace", "--bins"]))?;
    run(Command::new(release.join("tidegate-bench")).args(arguments))
}
