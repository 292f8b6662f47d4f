//! `cargo xtask cost`: instructions of the pure parts of the path, held against what they were.
//!
//! valgrind counts the same on a busy machine as on a free one, so that a slow-down shows without a clock.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use tidegate_tests::install::ensure_valgrind;

use crate::chaos::release_folder;
use crate::{cargo, root, run};

/// What each subject took when somebody last looked: a line of `instructions name` each.
const BUDGET: &str = "cost/budget.txt";
/// How much more is let through: compilers and libraries change a little, too.
const SLACK: f64 = 1.10;
/// Times that a subject runs; what the program needs besides is counted in both and falls out.
const RUNS: [u32; 2] = [100, 1_100];

/// Counts, and compares; `update` writes down what was counted instead.
pub(crate) fn cost(update: bool) -> Result<()> {
    if !ensure_valgrind()? {
        println!("valgrind is not installed: instructions are not counted");
        return Ok(());
    }
    run(cargo().args(["build", "--release", "--package", "tidegate-cost"]))?;
    let program = release_folder()?.join("tidegate-cost");
    let budget = read_budget()?;
    let mut counted = BTreeMap::new();
    for name in budget.keys() {
        let [few, many] = RUNS.map(|runs| instructions(&program, name, runs));
        counted.insert(name.clone(), (many? - few?) / u64::from(RUNS[1] - RUNS[0]));
    }
    if update {
        let lines: String = counted.iter().map(|(name, count)| format!("{count} {name}\n")).collect();
        return Ok(fs::write(root().join(BUDGET), lines)?);
    }
    let mut slower = Vec::new();
    for (name, count) in &counted {
        let was = budget[name];
        println!("{name}: {count} instructions, {was} allowed for");
        if *count as f64 > was as f64 * SLACK {
            slower.push(name.as_str());
        }
    }
    if slower.is_empty() {
        return Ok(());
    }
    bail!("slower than {BUDGET} says: {}; if that is meant, `cargo xtask cost --update`", slower.join(", "))
}

fn read_budget() -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string(root().join(BUDGET)).with_context(|| format!("cannot read {BUDGET}"))?;
    let line = |line: &str| {
        let (count, name) = line.split_once(' ').with_context(|| format!("{BUDGET}: {line:?}"))?;
        Ok((name.to_owned(), count.parse()?))
    };
    text.lines().map(line).collect()
}

fn instructions(program: &Path, name: &str, runs: u32) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).arg(name).arg(runs.to_string());
    let output = command.output().context("valgrind does not start")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {told}");
    let line = told.lines().find_map(|line| line.split_once("refs:")).with_context(|| format!("{name}: {told}"))?;
    Ok(line.1.trim().replace(',', "").parse()?)
}
