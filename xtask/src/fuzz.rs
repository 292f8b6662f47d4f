//! `cargo xtask fuzz`: inputs that nobody thought of, for what must hold for every one.
//!
//! cargo-fuzz wants the nightly compiler's flags; the stable compiler has them, and takes them when it is told to. No
//! sanitizer is needed: our code has no `unsafe`, and a broken invariant is a panic. What the fuzzer keeps is small, lies in `fuzz/corpus` and is replayed by the tests of `hostile/`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use tidegate_hostile::{TARGETS, Target, target};

use crate::lint::installed;
use crate::{cargo, root, run};

/// Longest input that is tried, in bytes: long ones are slow, and find what short ones do.
const INPUT_MAX: usize = 4_096;
/// Longest time for one input, in seconds.
const INPUT_TIMEOUT: usize = 10;
/// Memory of one fuzzer, in MiB.
const MEMORY_MAX: usize = 2_048;

/// Fuzzes each target, or the one called `name`, for `minutes`, and merges what was found into its corpus.
pub(crate) fn fuzz(name: Option<&str>, minutes: u64) -> Result<()> {
    ensure!(installed("fuzz"), "cargo-fuzz is not installed: cargo install cargo-fuzz");
    let targets = match name {
        None => TARGETS.to_vec(),
        Some(name) => vec![target(name).with_context(|| format!("no target {name}; there are {}", names()))?],
    };
    // The same libraries that are tested and released.
    fs::copy(root().join("Cargo.lock"), root().join("fuzz/Cargo.lock"))?;
    let found = targets.iter().map(|target| fuzz_one(target, minutes)).collect::<Vec<_>>();
    let broken: Vec<String> = found.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if broken.is_empty() { Ok(()) } else { bail!("{}", broken.join("; ")) }
}

fn names() -> String {
    TARGETS.map(|target| target.name).join(", ")
}

fn fuzz_one(target: &Target, minutes: u64) -> Result<()> {
    let fuzz = root().join("fuzz");
    let (corpus, work) = (fuzz.join("corpus").join(target.name), fuzz.join("target/corpora").join(target.name));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&work)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(work.join(format!("seed-{number}")), seed)?;
    }
    let seconds = format!("-max_total_time={}", minutes * 60);
    let fuzzed = fuzzer(target, &[&work, &corpus], &["-detect_leaks=0", &seconds]);
    // Also after a failure: what it has reached by then is worth keeping. An input that fails is in `fuzz/artifacts`.
    // The fewest inputs that reach all of the code, however often each runs it.
    let merged = fuzzer(target, &[&corpus, &work], &["-set_cover_merge=1", "-use_counters=0"]);
    fuzzed.with_context(|| format!("{} does not hold; the input is in fuzz/artifacts/{}", target.name, target.name))?;
    merged
}

fn fuzzer(target: &Target, folders: &[&Path], flags: &[&str]) -> Result<()> {
    let mut fuzzer: Command = cargo();
    // Without this the stable compiler takes no flags of the nightly one.
    fuzzer.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", "--sanitizer=none", target.name]);
    fuzzer.args(folders).arg("--").args(flags);
    fuzzer.args([
        format!("-max_len={INPUT_MAX}"),
        format!("-timeout={INPUT_TIMEOUT}"),
        format!("-rss_limit_mb={MEMORY_MAX}"),
    ]);
    run(&mut fuzzer)
}
