//! A worker binary: the one that ships, and one with handlers of a user's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidegate_shared::config::{self, Config, HandlerConfig};
use tidegate_shared::process::{self, Patience, Process};
use tidegate_shared::telemetry;
use tokio::net::TcpListener;

use crate::{Handler, Listeners, Parts, Registry, start};

/// Takes events from the queue and applies each exactly once in effect.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, the same file for every process.
    #[arg(long, value_name = "FILE", default_value = "tidegate.toml")]
    config: PathBuf,
    /// Where to serve the worker's API, instead of http.listen.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where to serve the admin API, instead of admin.listen.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

/// A worker binary.
///
/// ```no_run
/// use tidegate_worker::{Attempt, Effects, Handler, Outcome, Worker};
///
/// struct Greet;
///
/// impl Handler for Greet {
///     async fn handle(&self, attempt: Attempt<'_>) -> Outcome {
///         let id = attempt.event.id.as_str();
///         Outcome::Done(Effects::none().sql("INSERT INTO greetings (event_id) VALUES ($1)", [id.into()]))
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     Worker::new().handler("greet", |_config| Ok(Greet)).main()
/// }
/// ```
#[derive(Debug, Default)]
pub struct Worker {
    registry: Registry,
}

impl Worker {
    /// A worker with the built-in handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler of one's own under the name that `run` gives in the configuration.
    #[must_use]
    pub fn handler<H, F>(mut self, name: &str, make: F) -> Self
    where
        H: Handler,
        F: Fn(&HandlerConfig) -> Result<H, String> + Send + Sync + 'static,
    {
        self.registry = self.registry.with(name, make);
        self
    }

    /// Reads the command line and the configuration, and works until it is told to stop.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let arguments = Arguments::parse();
        telemetry::start_logging("info");
        process::install_tls();
        process::exit_with(arguments.config().map(|config| process::block_on(self.run(config))))
    }

    async fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let process = Process::default();
        let admin = process::listen_near(config.admin.listen, "--admin")?;
        let http = match &config.http {
            Some(http) => Some(process::listen_near(http.listen, "--listen")?),
            None => None,
        };
        let at = http.as_ref().map(TcpListener::local_addr).transpose()?;
        tracing::info!(admin = %admin.local_addr()?, http = at.map(tracing::field::display), "tidegate-worker is starting");
        let parts = Parts::connect(&config, &process.links)?;
        let listeners = Listeners { admin: (admin, telemetry::start_metrics(&process.work)), more_admin: None, http };
        start(listeners, &config, &self.registry, parts, &process.work)?;
        let patience = Patience { drain_delay: Duration::ZERO, grace: config.worker.shutdown_grace };
        Ok(process::run_until_stopped(&process, patience).await?)
    }
}

impl Arguments {
    fn config(&self) -> Result<Config, config::ConfigError> {
        config::load(&self.config)?.listening(None, self.admin)?.serving_http(self.listen)
    }
}
