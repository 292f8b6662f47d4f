//! `tidegate-ingest`: the door as a process of its own, for the distributed way.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tidegate_ingest::{Listeners, Parts, start};
use tidegate_shared::config::{self, Config};
use tidegate_shared::process::{self, Process};
use tidegate_shared::telemetry;

/// Receives webhooks, proves who sent them, and says 2xx once each is durable.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, the same file for every process.
    #[arg(long, value_name = "FILE", default_value = "tidegate.toml")]
    config: PathBuf,
    /// Where to receive webhooks, instead of ingest.listen.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where to serve metrics, instead of ingest.admin.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::start_logging("info");
    process::install_tls();
    process::exit_with(arguments.config().map(|config| process::block_on_one_thread(run(config))))
}

impl Arguments {
    fn config(&self) -> Result<Config, config::ConfigError> {
        config::load(&self.config)?.listening(self.listen, self.admin)
    }
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let process = Process::default();
    let door = process::listen(config.ingest.listen, "--listen")?;
    let admin = process::listen_near(config.ingest.admin, "--admin")?;
    tracing::info!(listen = %door.local_addr()?, admin = %admin.local_addr()?, "tidegate-ingest is starting");
    let listeners = Listeners { door, admin: Some((admin, telemetry::start_metrics(&process.work))) };
    let parts = Parts::connect(&config, &process.links).await?;
    start(listeners, &config, parts, &process.work);
    Ok(process::run_until_stopped(&process, config.ingest.patience()).await?)
}
