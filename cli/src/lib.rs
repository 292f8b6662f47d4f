//! The program `tidegate`, as a library: so that one process can run handlers of one's own on the embedded store.
//!
//! ```no_run
//! use tidegate_worker::{Attempt, Effects, Handler, Outcome, Registry};
//!
//! struct Greet;
//!
//! impl Handler for Greet {
//!     async fn handle(&self, attempt: Attempt<'_>) -> Outcome {
//!         let id = attempt.event.id.as_str();
//!         Outcome::Done(Effects::none().sql("INSERT INTO greetings (event_id) VALUES ($1)", [id.into()]))
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     tidegate::dev(&Registry::new().with("greet", |_config| Ok(Greet)))
//! }
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidegate_shared::process;
use tidegate_worker::Registry;

mod admin;
mod check;
mod dead;
mod dev;
mod events;
mod explain;
mod out;
mod providers;
mod rejected;
mod sample;
mod send;
mod spool;
mod table;

/// Receives webhooks; never loses or repeats one.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive and handle in one process, on the embedded store.
    Dev(dev::Arguments),
    /// Send an event to a source, signed as its provider would.
    Send(send::Arguments),
    /// List events, newest first.
    Events(events::Arguments),
    /// Look at, replay or discard dead letters.
    Dead(dead::Arguments),
    /// Look at the events that wait in an ingest's spool, or have them drained now.
    Spool(spool::Arguments),
    /// Look at requests that did not verify, or let them in after the mend.
    Rejected(rejected::Arguments),
    /// Say why a request did not verify: one that was kept, or one in a file.
    Explain(explain::Arguments),
    /// Check a configuration: every mistake at once.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "tidegate.toml")]
        config: PathBuf,
    },
    /// List the providers that are known by name.
    Providers {
        /// One object a line.
        #[arg(long)]
        json: bool,
    },
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    process::install_tls();
    match command {
        Command::Dev(arguments) => dev::dev(arguments, &Registry::new()),
        Command::Send(arguments) => send::send(arguments),
        Command::Events(arguments) => events::events(arguments),
        Command::Dead(arguments) => dead::dead(arguments),
        Command::Spool(arguments) => spool::spool(arguments),
        Command::Rejected(arguments) => rejected::rejected(arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Check { config } => check::check(&config),
        Command::Providers { json } => providers::providers(json),
    }
}

/// `tidegate dev`, alone.
#[derive(Debug, Parser)]
#[command(version)]
struct DevArguments {
    #[command(flatten)]
    dev: dev::Arguments,
}

/// A program with handlers of one's own, all in one process on the embedded store: reads the command line of
/// `tidegate dev`, and receives and handles until it is told to stop.
#[must_use]
pub fn dev(registry: &Registry) -> ExitCode {
    let DevArguments { dev } = DevArguments::parse();
    process::install_tls();
    dev::dev(dev, registry)
}
