//! Tidegate's developer commands: `cargo xtask test`, `lint`, `chaos`, `power-cut`, `bench`, `cost` and `fuzz`.
#![expect(clippy::print_stdout, reason = "a command line program answers on standard output")]

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

mod bench;
mod chaos;
mod cost;
mod fuzz;
mod lint;
mod test;

/// Tidegate's developer commands.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every test on both backends, on servers that are found, installed or started for it.
    Test {
        /// Only tests whose name contains one of these.
        filter: Vec<String>,
    },
    /// Check formatting, lints and documentation.
    Lint,
    /// Break Tidegate under load, and account for every event: `cargo xtask chaos --help`.
    #[command(disable_help_flag = true)]
    Chaos {
        /// For the program `tidegate-chaos`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure Tidegate side by side with what the machine allows: `cargo xtask bench --help`.
    #[command(disable_help_flag = true)]
    Bench {
        /// For the program `tidegate-bench`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Count instructions of the pure parts of the path, and fail if they became many more.
    Cost {
        /// Write down what was counted as what is allowed.
        #[arg(long)]
        update: bool,
    },
    /// Look for inputs that break what must hold for every one, and keep the ones that reach new code.
    Fuzz {
        /// Only this target; each of them if none is named.
        target: Option<String>,
        /// How long, for each target.
        #[arg(long, default_value_t = 5)]
        minutes: u64,
    },
    /// Cut the power after each step that a program's disk takes: `cargo xtask power-cut --help`.
    #[command(disable_help_flag = true)]
    PowerCut {
        /// For the program `tidegate-power-cut`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Task::Test { filter } => test::test(&filter),
        Task::Lint => lint::lint(),
        Task::Chaos { arguments } => chaos::chaos(&arguments),
        Task::Bench { arguments } => bench::bench(&arguments),
        Task::Cost { update } => cost::cost(update),
        Task::Fuzz { target, minutes } => fuzz::fuzz(target.as_deref(), minutes),
        Task::PowerCut { arguments } => chaos::run_released("tidegate-power-cut", &arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The cargo that runs this.
fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root());
    command
}

/// Runs a command, saying which, and fails if it does.
fn run(command: &mut Command) -> Result<()> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown = words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    let shown = shown.replace(env!("CARGO"), "cargo");
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("{shown} does not start"))?;
    ensure!(status.success(), "{shown} failed: {status}");
    Ok(())
}
