//! `tidegate dev`: the door and the worker in one process, on the embedded store.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tidegate_ingest as ingest;
use tidegate_shared::config::{self, Backend, Config, ConfigError};
use tidegate_shared::process::{self, Patience, Process};
use tidegate_shared::queue::embedded::EmbeddedQueue;
use tidegate_shared::store::Store;
use tidegate_shared::telemetry;
use tidegate_worker as worker;
use tokio::net::TcpListener;

use crate::out::say;

/// Where events are kept if nothing else is said.
const DATA: &str = "./tidegate-data";
/// On the terminal of somebody who is trying it out every event is worth a line.
const LOG: &str = "info,tidegate_ingest=debug,tidegate_worker=debug";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The configuration. Without one: sources github, stripe and demo with a development secret, on loopback only.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the embedded store.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to receive webhooks.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where to serve the admin API.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

pub(crate) fn dev(arguments: Arguments, registry: &worker::Registry) -> ExitCode {
    telemetry::start_logging(LOG);
    process::exit_with(arguments.config().map(|config| process::block_on(run(config, arguments, registry))))
}

impl Arguments {
    fn config(&self) -> Result<Config, ConfigError> {
        let config = match &self.config {
            Some(path) => config::load(path)?,
            None => Config::development(),
        };
        config.listening(self.listen, self.admin)
    }

    fn folder(&self, config: &Config) -> PathBuf {
        match (&self.data, &config.backend) {
            (Some(data), _) => data.clone(),
            (None, Backend::Embedded { path }) => path.clone(),
            (None, Backend::Distributed(_)) => DATA.into(),
        }
    }
}

async fn run(config: Config, arguments: Arguments, registry: &worker::Registry) -> anyhow::Result<ExitCode> {
    let folder = arguments.folder(&config);
    // The whole process is embedded, whatever servers the file names for the other way to run.
    let config = Config { backend: Backend::Embedded { path: folder.clone() }, ..config };
    let built_in = arguments.config.is_none();
    anyhow::ensure!(
        !built_in || config.ingest.listen.ip().is_loopback(),
        "without --config the secrets are public, so --listen must be a loopback address such as 127.0.0.1:3000"
    );
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let process = Process::default();
    let door = process::listen(config.ingest.listen, "--listen")?;
    let admin = process::listen(config.admin.listen, "--admin")?;
    let http = match &config.http {
        Some(http) => Some(process::listen_near(http.listen, "http.listen")?),
        None => None,
    };
    let (at, admin_at) = (door.local_addr()?, admin.local_addr()?);
    let http_at = http.as_ref().map(TcpListener::local_addr).transpose()?;
    // Before whatever counts.
    let metrics = telemetry::start_metrics(&process.work);
    let store = Store::open(&folder).with_context(|| format!("cannot use {}", folder.display()))?;
    let queue = EmbeddedQueue::open(store.clone(), config.topology(), &process.work).await?;
    let receiving =
        Arc::new(ingest::receive::Door::new(&config, ingest::Parts::embedded(queue.clone()), process.work.clone()));
    let more_admin = Some(ingest::admin::rejected::routes(&receiving));
    let listeners = worker::Listeners { admin: (admin, metrics), more_admin, http };
    let parts = worker::Parts::embedded(queue, store);
    worker::start(listeners, &config, registry, parts, &process.work)?;
    let listeners = ingest::Listeners { door, admin: None };
    ingest::start_on_a_thread(listeners, &config, receiving, &process.work)?;
    let http = http_at.map(tracing::field::display);
    tracing::info!(listen = %at, admin = %admin_at, http, "tidegate dev is starting");
    greet(&config, Addresses { door: at, admin: admin_at, http: http_at }, built_in);
    let ingest = config.ingest.patience();
    let patience = Patience { grace: ingest.grace.max(config.worker.shutdown_grace), ..ingest };
    Ok(process::run_until_stopped(&process, patience).await?)
}

/// Where the process listens.
struct Addresses {
    door: SocketAddr,
    admin: SocketAddr,
    http: Option<SocketAddr>,
}

fn greet(config: &Config, Addresses { door: at, admin, http }: Addresses, built_in: bool) {
    say!("Tidegate receives on");
    let base = config.ingest.public_url.as_ref().map_or_else(|| format!("http://{at}"), ToString::to_string);
    for source in config.sources.values() {
        say!("  {}/webhooks/{:<12} {}", base.trim_end_matches('/'), source.name, source.provider);
    }
    say!("admin API on http://{admin}");
    if let Some(http) = http {
        say!("worker's API on http://{http}, described at http://{http}/docs");
    }
    if built_in {
        let usual = Config::development();
        let url = if at == usual.ingest.listen { String::new() } else { format!(" --url http://{at}") };
        let look = if admin == usual.admin.listen { String::new() } else { format!(" --admin http://{admin}") };
        say!("\nTry, in another terminal:");
        say!("  tidegate send github --sample push{url}");
        say!("  tidegate events{look}");
        if let Some(http) = http {
            say!("  curl http://{http}/rates/EUR");
        }
        say!("\nThe secret of these sources is {:?}: for this machine only.", config::DEVELOPMENT_SECRET);
    }
}
