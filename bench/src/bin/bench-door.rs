//! The door on the embedded store, without a worker: what receiving alone costs there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tidegate_ingest::{Listeners, Parts, start};
use tidegate_shared::config::{self, Backend, Config};
use tidegate_shared::process::{self, Process};
use tidegate_shared::queue::embedded::EmbeddedQueue;
use tidegate_shared::store::Store;
use tidegate_shared::telemetry;

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long)]
    config: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    admin: SocketAddr,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::start_logging("info");
    let config = config::load(&arguments.config)
        .and_then(|config| config.listening(Some(arguments.listen), Some(arguments.admin)));
    process::exit_with(config.map(|config| process::block_on_one_thread(run(config))))
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let Backend::Embedded { path } = &config.backend else { anyhow::bail!("backend.kind must be \"embedded\"") };
    let process = Process::default();
    let door = process::listen(config.ingest.listen, "--listen")?;
    let admin = process::listen(config.ingest.admin, "--admin")?;
    tracing::info!(listen = %door.local_addr()?, admin = %admin.local_addr()?, "bench-door is starting");
    let listeners = Listeners { door, admin: Some((admin, telemetry::start_metrics(&process.work))) };
    let queue = EmbeddedQueue::open(Store::open(path)?, config.topology(), &process.work).await?;
    start(listeners, &config, Parts::embedded(queue), &process.work);
    Ok(process::run_until_stopped(&process, config.ingest.patience()).await?)
}
