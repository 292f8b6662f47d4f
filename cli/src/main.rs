//! `tidegate`: both halves in one process for the embedded way, and the operator's commands for both ways.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidegate_shared::process;

mod admin;
mod check;
mod dead;
mod dev;
mod events;
mod out;
mod providers;
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

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    process::install_tls();
    match command {
        Command::Dev(arguments) => dev::dev(arguments),
        Command::Send(arguments) => send::send(arguments),
        Command::Events(arguments) => events::events(arguments),
        Command::Dead(arguments) => dead::dead(arguments),
        Command::Spool(arguments) => spool::spool(arguments),
        Command::Check { config } => check::check(&config),
        Command::Providers { json } => providers::providers(json),
    }
}
